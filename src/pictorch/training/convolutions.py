"""Which 3x3 convolutions of a training are computed by kernels of our own: decided once, then kept."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch

from pictorch.datasets.splits import ImageSet
from pictorch.errors import RecipeError
from pictorch.kernels import operator
from pictorch.kernels.building import BUILDING_SECONDS, Unavailable
from pictorch.kernels.layers import TORCHS, OwnConvolutions, suitable_layers
from pictorch.kernels.library import Kernels, open_kernels
from pictorch.kernels.measurements import LIBRARY, OWN
from pictorch.kernels.timing import MEASURING_SECONDS
from pictorch.networks import Classifier
from pictorch.recipe import Recipe
from pictorch.training.convolution_times import FASTER, StepTimes, times_of_steps
from pictorch.training.runtime import Choice, Runtime, training_memory_explained

# Multiply-adds a second and thread that torch's float32 convolutions make (resnet18: 65e9, the smaller
# cifar10_cnn less; docs/kernels.md), and how much faster it is where the CPU multiplies bf16.
_LIBRARY_RATE = {"float32": 5e10, "bf16": 5e10 * 1.75}
# The share of a training's time that own kernels are expected to save: at least what is still to be done
# first, building, measuring, or only looking. That loads the library, tests it and finds what was measured,
# in a tenth of a second.
_EXPECTED_GAIN = {"float32": 1 / 3, "bf16": 1 / 10}
_LOOKING_SECONDS = 1.0
_TOO_SHORT = "the training is too short to earn back "
# A form must win by this much over torch's own in whole steps, since times scatter by a percent or two.
_LEAST_GAIN = 0.03
_NONE_SUITS = "the network has no 3x3 convolution that own kernels compute"

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
        return _asked_for(runtime, network, say)
    if asked == "library":
        return runtime
    if runtime.device.type != "cpu" or precision not in _LIBRARY_RATE:
        return library_convolutions(runtime, "own kernels are for the CPU in float32 or bf16")
    image_seconds = 3 * multiply_adds / (_LIBRARY_RATE[precision] * runtime.threads)
    saved = image_seconds * recipe.train.epochs * len(train) * _EXPECTED_GAIN[precision]
    if saved < _LOOKING_SECONDS:
        return library_convolutions(runtime, f"{_TOO_SHORT}looking for own kernels")
    if not suitable_layers(network):
        return library_convolutions(runtime, _NONE_SUITS)
    may_build = saved >= BUILDING_SECONDS + MEASURING_SECONDS
    kernels = _opened(say, may_build=may_build)
    if isinstance(kernels, Unavailable):
        if not may_build:
            return library_convolutions(runtime, f"{_TOO_SHORT}building and measuring own kernels")
        say(f"kernels torch's own, since pictorch's cannot be had: {kernels.reason}")
        return library_convolutions(runtime, f"own kernels cannot be had, {kernels.reason}")
    with training_memory_explained(recipe.train, runtime.device, network.input_spec.image_size):
        times = times_of_steps(
            runtime,
            recipe,
            kernels,
            network,
            len(train),
            image_seconds,
            say,
            may_measure=saved >= MEASURING_SECONDS,
        )
    if times is None:
        return library_convolutions(runtime, f"{_TOO_SHORT}measuring own kernels")
    return _fastest(runtime, kernels, times)


def _asked_for(runtime: Runtime, network: Classifier, say: Say) -> Runtime:
    if runtime.device.type != "cpu":
        raise RecipeError(
            f"train.kernels: own is for the CPU, and the training is on {runtime.device.type}; "
            "give `--set train.kernels=auto`, or `--device cpu`"
        )
    layers = suitable_layers(network)
    if not layers:
        say(f"kernels torch's own, since {_NONE_SUITS}")
        return _with(runtime, runtime.choices["train.kernels"], None, ())
    kernels = _opened(say)
    if isinstance(kernels, Unavailable):
        raise RecipeError(
            f"train.kernels: own is not available here, {kernels.reason}; give `--set train.kernels=library`"
        )
    return _with(runtime, runtime.choices["train.kernels"], kernels, layers)


def recorded_convolutions(runtime: Runtime, environment: Mapping[str, Any], say: Say) -> Runtime:
    """Returns the settings with the convolutions that a run began with, whatever would be chosen now.

    Where their kernels cannot be had here, they are torch's own, which changes the last bits.
    """
    began_with = OwnConvolutions.recorded(environment.get("convolutions"))
    record = environment.get("auto", {}).get("train.kernels")
    choice = Choice(**record) if record else Choice(LIBRARY, "the only one when the run began", "")
    if not began_with.layers:
        if choice.value == FASTER:  # what a conversion recorded, which measured nothing
            choice = Choice(LIBRARY, "as the run began", "")
        return _with(runtime, choice, None, ())
    if runtime.device.type != "cpu" or runtime.dtype != torch.float32:
        return library_convolutions(runtime, "the run's own kernels are for the CPU", rule="")
    kernels = _opened(say, began_with.build)
    if isinstance(kernels, Unavailable):
        return library_convolutions(
            runtime, f"the run's own kernels cannot be had, {kernels.reason}", rule=""
        )
    if choice.value != OWN:
        choice = Choice(OWN, "as the newest checkpoint was trained", "")
    return _with(runtime, choice, kernels, began_with.layers)


def untrained_convolutions(runtime: Runtime) -> Runtime:
    """Returns the settings of a run of weights from elsewhere, which computes with torch's convolutions."""
    return library_convolutions(runtime, "the run was made of weights from elsewhere", rule="")


def told_convolutions(runtime: Runtime) -> str | None:
    """Returns the line that opens a training with own kernels, None where all convolutions are torch's."""
    if not runtime.convolutions.layers:
        return None
    choice = runtime.choices["train.kernels"]
    return f"kernels {runtime.convolutions.told()}, {choice.reason}"


def _fastest(runtime: Runtime, kernels: Kernels, times: StepTimes) -> Runtime:
    """Returns the settings with the form whose whole steps are the fastest."""
    seconds, forms = times.seconds, times.forms
    best = min(seconds, key=lambda form: seconds[form])
    if not forms[best] or seconds[best] > (1 - _LEAST_GAIN) * seconds[LIBRARY]:
        return library_convolutions(runtime, "own kernels are no faster for this network here", times.told())
    gain = f"{seconds[LIBRARY] / seconds[best]:.2f} times the speed of torch's convolutions"
    reason = f"{len(forms[best])} of {len(forms[OWN])} 3x3 convolutions, {gain}"
    return _with(runtime, Choice(OWN, f"auto: {reason}", times.told()), kernels, forms[best])


def _opened(say: Say, wanted: str | None = None, *, may_build: bool = True) -> Kernels | Unavailable:
    """Returns the kernels, those that this process has already where it has some; builds them if it may.

    `wanted` is the build that is taken where it can be had.
    """
    in_use = operator.in_use()
    if in_use is not None and wanted in (None, in_use.build):
        return in_use
    found = open_kernels(
        may_build=may_build,
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


def library_convolutions(
    runtime: Runtime, reason: str, measured: str = "not measured", rule: str = "auto: "
) -> Runtime:
    """Returns the settings with torch's convolutions, and why that is so."""
    return _with(runtime, Choice(LIBRARY, f"{rule}{reason}", measured), None, ())
