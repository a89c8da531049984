"""Which 3x3 convolutions of a training are computed by kernels of our own: decided once, then kept."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch

from pictorch.datasets.splits import ImageSet
from pictorch.errors import RecipeError
from pictorch.host import cpu_name
from pictorch.kernels import measurements, operator
from pictorch.kernels.building import Unavailable, times_folder
from pictorch.kernels.layers import TORCHS, OwnConvolutions, shapes_of, suitable_layers
from pictorch.kernels.library import Kernels, open_kernels
from pictorch.kernels.measurements import LAYERS, LIBRARY, NETWORKS, OWN
from pictorch.kernels.timing import Crowd, Seconds, time_layer, time_steps
from pictorch.networks import Classifier
from pictorch.recipe import Recipe
from pictorch.training.runtime import Choice, Runtime

# Multiply-adds a second and thread that torch's float32 convolutions make (resnet18: 65e9, the smaller
# cifar10_cnn less; docs/kernels.md), and how much faster it is where the CPU multiplies bf16.
_LIBRARY_RATE = {"float32": 5e10, "bf16": 5e10 * 1.75}
# The share of a training's time that own kernels are expected to save, and the seconds that building and
# measuring take at most: a training for which they do not come back has torch's convolutions.
_EXPECTED_GAIN = {"float32": 1 / 3, "bf16": 1 / 10}
_COST_SECONDS = 25.0
# A form must win by this much over torch's own in whole steps, since times scatter by a percent or two.
_LEAST_GAIN = 0.03
# Images of the measured steps: a real batch where it takes about a second (small maps are slower by own
# kernels in small batches, since transforming the filters takes its share), never less than the first figure.
_LEAST_IMAGES, _STEP_SECONDS = 32, 1.2
_FASTER = "own where faster"
# How long other programs are watched before times that were taken beside some are measured again, and how
# many CPUs they may take of those that the training is to use.
_WATCHED_SECONDS, _MOST_OTHERS = 0.2, 0.1

Say = Callable[[str], None]


def resolve_convolutions(
    runtime: Runtime, recipe: Recipe, train: ImageSet, network: Classifier, multiply_adds: int, say: Say
) -> Runtime:
    """Returns the settings with the convolutions of a new training, by train.kernels.

    `network` is one that nobody uses afterwards: steps are timed with it. `multiply_adds` are those of an
    image. Raises RecipeError where kernels that the recipe asks for cannot be had.
    """
    asked, precision = recipe.train.kernels, runtime.choices["train.precision"].value
    if asked == "own":
        if runtime.device.type != "cpu":
            raise RecipeError(
                f"train.kernels: own is for the CPU, and the training is on {runtime.device.type}; "
                "give `--set train.kernels=auto`, or `--device cpu`"
            )
        kernels = _opened(say)
        if isinstance(kernels, Unavailable):
            raise RecipeError(
                f"train.kernels: own is not available here, {kernels.reason}; "
                "give `--set train.kernels=library`"
            )
        return _with(runtime, runtime.choices["train.kernels"], kernels, suitable_layers(network))
    if asked == "library":
        return runtime
    if runtime.device.type != "cpu" or precision not in _LIBRARY_RATE:
        return _library(runtime, "own kernels are for the CPU in float32 or bf16")
    images = recipe.train.epochs * len(train)
    seconds = 3 * multiply_adds * images / (_LIBRARY_RATE[precision] * runtime.threads)
    if seconds * _EXPECTED_GAIN[precision] < _COST_SECONDS:
        return _library(runtime, "the training is too short to earn back building and measuring own kernels")
    if not suitable_layers(network):
        return _library(runtime, "the network has no 3x3 convolution that own kernels compute")
    kernels = _opened(say)
    if isinstance(kernels, Unavailable):
        say(f"kernels torch's own, since pictorch's cannot be had: {kernels.reason}")
        return _library(runtime, f"own kernels cannot be had, {kernels.reason}")
    return _measured(runtime, kernels, recipe, len(train), network, multiply_adds, say)


def recorded_convolutions(runtime: Runtime, environment: Mapping[str, Any], say: Say) -> Runtime:
    """Returns the settings with the convolutions that a run began with, whatever would be chosen now.

    Where their kernels cannot be had here, they are torch's own, which changes the last bits.
    """
    began_with = OwnConvolutions.recorded(environment.get("convolutions"))
    record = environment.get("auto", {}).get("train.kernels")
    choice = Choice(**record) if record else Choice(LIBRARY, "the only one when the run began", "")
    if not began_with.layers:
        if choice.value == _FASTER:  # what a conversion recorded, which measured nothing
            choice = Choice(LIBRARY, "as the run began", "")
        return _with(runtime, choice, None, ())
    if runtime.device.type != "cpu" or runtime.dtype != torch.float32:
        return _library(runtime, "the run's own kernels are for the CPU", rule="")
    kernels = _opened(say, began_with.build)
    if isinstance(kernels, Unavailable):
        return _library(runtime, f"the run's own kernels cannot be had, {kernels.reason}", rule="")
    if choice.value != OWN:
        choice = Choice(OWN, "as the newest checkpoint was trained", "")
    return _with(runtime, choice, kernels, began_with.layers)


def untrained_convolutions(runtime: Runtime) -> Runtime:
    """Returns the settings of a run of weights from elsewhere, which computes with torch's convolutions."""
    return _library(runtime, "the run was made of weights from elsewhere", rule="")


def told_convolutions(runtime: Runtime) -> str | None:
    """Returns the line that opens a training with own kernels, None where all convolutions are torch's."""
    if not runtime.convolutions.layers:
        return None
    choice = runtime.choices["train.kernels"]
    return f"kernels {runtime.convolutions.told()}, {choice.reason}"


def _measured(
    runtime: Runtime,
    kernels: Kernels,
    recipe: Recipe,
    training_images: int,
    network: Classifier,
    multiply_adds: int,
    say: Say,
) -> Runtime:
    """Chooses for each layer by its time, then between that, all and none of them by whole steps."""
    precision = runtime.choices["train.precision"].value
    image_seconds = 3 * multiply_adds / (_LIBRARY_RATE[precision] * runtime.threads)
    count = max(_LEAST_IMAGES, int(_STEP_SECONDS / image_seconds))
    count = min(count, training_images, recipe.train.batch_size // recipe.train.accumulate)
    with runtime.applied(), torch.random.fork_rng(devices=[]):
        kept = _kept(runtime, kernels, precision, say)
        crowd = Crowd(runtime.threads)
        runtime.place(network)
        side = network.input_spec.stored_size
        images = torch.randint(0, 256, (max(2, count), side, side, 3), dtype=torch.uint8)
        shapes = shapes_of(network, images[:2], count)
        kinds = {shape for one in shapes.values() for shape in one}
        unknown = sorted(shape for shape in kinds if kept.get(LAYERS, shape.text()) is None)
        if unknown:
            say(f"measuring {len(unknown)} kinds of convolution, once on this machine ...")
        for shape in unknown:
            kept.put(LAYERS, shape.text(), time_layer(shape, runtime.autocast_dtype))
        faster = [
            name
            for name, one in shapes.items()
            if sum(_saved(kept.get(LAYERS, shape.text())) for shape in one) > 0
        ]
        forms = {LIBRARY: [], _FASTER: faster, OWN: list(shapes)}
        if not faster or len(faster) == len(shapes):
            del forms[_FASTER]
        key = _key(recipe, shapes, forms, count)
        seconds = kept.get(NETWORKS, key)
        if seconds is None:
            seconds = time_steps(network, images, forms, runtime.autocast_dtype)
            kept.put(NETWORKS, key, seconds)
        problem = kept.save(crowd.taken_cpus())
    if problem is not None:
        say(f"every long training will measure the convolutions again, since {problem}")
    best = min(seconds, key=lambda form: seconds[form])
    times = f"{seconds[LIBRARY] / seconds[best]:.2f} times the speed of torch's convolutions"
    what = f"forward and backward of {count} images here, {_milliseconds(seconds)}"
    if seconds[best] > (1 - _LEAST_GAIN) * seconds[LIBRARY]:
        return _library(runtime, "own kernels are no faster for this network here", what)
    reason = f"{len(forms[best])} of {len(shapes)} 3x3 convolutions, {times}"
    return _with(runtime, Choice(OWN, f"auto: {reason}", what), kernels, forms[best])


def _kept(runtime: Runtime, kernels: Kernels, precision: str, say: Say) -> measurements.Kept:
    """Returns what was measured here; times taken on a busy machine are left out where it is idle now."""
    settings = [cpu_name(), f"{runtime.threads} threads", f"torch {torch.__version__}"]
    text = ", ".join([*settings, kernels.instruction_set, precision])
    kept = measurements.Kept(times_folder(kernels.path), text)
    if kept.has_crowded:
        crowd = Crowd(runtime.threads)
        time.sleep(_WATCHED_SECONDS)
        if crowd.taken_cpus() <= _MOST_OTHERS:
            say("what was measured of convolutions while other programs were busy is measured again")
            kept.forget_crowded()
    return kept


def _opened(say: Say, wanted: str | None = None) -> Kernels | Unavailable:
    """Returns the kernels, those that this process has already where it has some; builds them at need.

    `wanted` is the build that is taken where it can be had.
    """
    in_use = operator.in_use()
    if in_use is not None and wanted in (None, in_use.build):
        return in_use
    found = open_kernels(
        may_build=True,
        wanted=wanted,
        before_building=lambda: say(
            "building the convolution kernels, once on this machine (less than a minute) ..."
        ),
    )
    if isinstance(found, Kernels):
        operator.use(found)
    return found


def _with(runtime: Runtime, choice: Choice, kernels: Kernels | None, layers: Collection[str]) -> Runtime:
    choices = {**runtime.choices, "train.kernels": choice}
    if kernels is None:
        return replace(runtime, choices=choices, convolutions=TORCHS)
    convolutions = OwnConvolutions(tuple(layers), kernels.instruction_set, kernels.build)
    return replace(runtime, choices=choices, convolutions=convolutions)


def _library(runtime: Runtime, reason: str, measured: str = "not measured", rule: str = "auto: ") -> Runtime:
    return _with(runtime, Choice(LIBRARY, f"{rule}{reason}", measured), None, ())


def _saved(seconds: Mapping[str, float] | None) -> float:
    assert seconds is not None
    return seconds[LIBRARY] - seconds[OWN]


def _key(recipe: Recipe, shapes: Mapping[str, Any], forms: Mapping[str, Any], count: int) -> str:
    facts = [shapes, forms, recipe.model.model_dump(mode="json"), recipe.train.channels_last]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{recipe.model.name}, {count} images, {digest}"


def _milliseconds(seconds: Seconds) -> str:
    return ", ".join(f"{form} {1000 * one:,.0f} ms" for form, one in seconds.items())
