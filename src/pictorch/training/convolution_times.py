"""How fast steps of a network are by own kernels and by torch's convolutions: measured once on a machine."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pictorch.host import cpu_name
from pictorch.kernels import measurements
from pictorch.kernels.building import times_folder
from pictorch.kernels.layers import Shape, shapes_of
from pictorch.kernels.library import Kernels
from pictorch.kernels.measurements import LAYERS, LIBRARY, NETWORKS, OWN
from pictorch.kernels.timing import Crowd, Seconds, time_layer, time_steps
from pictorch.networks import Classifier
from pictorch.recipe import Recipe
from pictorch.training.runtime import Runtime

FASTER = "own where faster"
# Images of the measured steps: a real batch where it takes about a second (small maps are slower by own
# kernels in small batches, since transforming the filters takes its share), never less than the first figure.
_LEAST_IMAGES, _STEP_SECONDS = 32, 1.2
# How long other programs are watched before times that were taken beside some are measured again, and how
# many CPUs they may take of those that the training is to use.
_WATCHED_SECONDS, _MOST_OTHERS = 0.2, 0.1

Say = Callable[[str], None]
Shapes = dict[str, list[Shape]]


@dataclass(frozen=True)
class StepTimes:
    """The seconds of a forward and backward pass of some images, and the own layers, of each form."""

    images: int
    seconds: Seconds
    forms: Mapping[str, list[str]]

    def told(self) -> str:
        """Returns the seconds in a few words."""
        each = ", ".join(f"{form} {1000 * one:,.0f} ms" for form, one in self.seconds.items())
        return f"forward and backward of {self.images} images here, {each}"


def times_of_steps(
    runtime: Runtime,
    recipe: Recipe,
    kernels: Kernels,
    network: Classifier,
    training_images: int,
    image_seconds: float,
    say: Say,
    *,
    may_measure: bool,
) -> StepTimes | None:
    """Returns the times of torch's convolutions, of own ones where these are faster, and of own ones alone.

    What was measured here before is taken; where something is missing, None unless it `may_measure`. The
    network is trained with, so nobody may use it afterwards; an image is reckoned to take `image_seconds`.
    """
    count = max(_LEAST_IMAGES, int(_STEP_SECONDS / image_seconds))
    count = min(count, training_images, recipe.train.batch_size // recipe.train.accumulate)
    dtype = runtime.autocast_dtype
    with runtime.applied(), torch.random.fork_rng(devices=[]):
        kept = _kept(runtime, kernels, say, may_measure=may_measure)
        crowd = Crowd(runtime.threads)
        runtime.place(network)
        side = network.input_spec.stored_size
        images = torch.randint(0, 256, (max(2, count), side, side, 3), dtype=torch.uint8)
        shapes = shapes_of(network, images[:2], count)
        unknown = _unknown(shapes, kept)
        if unknown:
            if not may_measure:
                return None
            say(f"measuring {len(unknown)} kinds of convolution, once on this machine ...")
        for shape in unknown:
            kept.put(LAYERS, shape.text(), time_layer(shape, dtype))
        forms = _forms(shapes, kept)
        key = _key(recipe, shapes, forms, count)
        seconds = kept.get(NETWORKS, key)
        if seconds is None:
            if not may_measure:
                return None
            seconds = time_steps(network, images, forms, dtype)
            kept.put(NETWORKS, key, seconds)
        problem = kept.save(crowd.taken_cpus())
    if problem is not None:
        say(f"every long training will measure the convolutions again, since {problem}")
    return StepTimes(count, seconds, forms)


def _kept(runtime: Runtime, kernels: Kernels, say: Say, *, may_measure: bool) -> measurements.Kept:
    """Returns what was measured here; times taken on a busy machine are left out where it is idle now."""
    settings = [cpu_name(), f"{runtime.threads} threads", f"torch {torch.__version__}"]
    text = ", ".join([*settings, kernels.instruction_set, runtime.choices["train.precision"].value])
    kept = measurements.Kept(times_folder(kernels.path), text)
    if kept.has_crowded and may_measure:
        crowd = Crowd(runtime.threads)
        time.sleep(_WATCHED_SECONDS)
        if crowd.taken_cpus() <= _MOST_OTHERS:
            say("what was measured of convolutions while other programs were busy is measured again")
            kept.forget_crowded()
    return kept


def _unknown(shapes: Shapes, kept: measurements.Kept) -> list[Shape]:
    """Returns the kinds of convolution of which no times are kept."""
    kinds = {shape for one in shapes.values() for shape in one}
    return sorted(shape for shape in kinds if kept.get(LAYERS, shape.text()) is None)


def _forms(shapes: Shapes, kept: measurements.Kept) -> dict[str, list[str]]:
    """Returns by name of the form its own layers; where one is as good as another it is left out."""
    faster = [name for name, one in shapes.items() if _saved(one, kept) > 0]
    forms: dict[str, list[str]] = {LIBRARY: [], FASTER: faster, OWN: list(shapes)}
    if not faster or len(faster) == len(shapes):
        del forms[FASTER]
    return forms


def _saved(calls: Iterable[Shape], kept: measurements.Kept) -> float:
    """Returns the seconds that own kernels save in the calls of a layer."""
    saved = 0.0
    for shape in calls:
        seconds = kept.get(LAYERS, shape.text())
        assert seconds is not None, shape
        saved += seconds[LIBRARY] - seconds[OWN]
    return saved


def _key(recipe: Recipe, shapes: Shapes, forms: Mapping[str, Any], count: int) -> str:
    facts = [shapes, forms, recipe.model.model_dump(mode="json"), recipe.train.channels_last]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{recipe.model.name}, {count} images, {digest}"
