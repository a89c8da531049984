"""How long a convolution, and a whole step of a network, take by `conv3x3` and by torch's own."""

import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.host import worked_seconds
from pictorch.kernels.layers import Shape, use_conv3x3
from pictorch.kernels.measurements import LIBRARY, OWN
from pictorch.kernels.operator import conv3x3

# The first turn gives everything its place in memory and does not count.
_LEAST_TURNS, _MOST_TURNS = 3, 6
_LAYER_SECONDS, _STEP_SECONDS = 0.5, 6.0
MEASURING_SECONDS = (
    13.0  # of all convolutions and steps of a usual network; 2 to 20 were seen (docs/kernels.md)
)

Seconds = dict[str, float]


class Crowd:
    """What other programs take of the CPUs that this process is to use, from when it is made."""

    def __init__(self, threads: int) -> None:
        """`threads` is how many CPUs the process is to use."""
        self._spare = max(0, (os.cpu_count() or threads) - threads)
        self._start = _clocks()

    def taken_cpus(self) -> float:
        """Returns how many CPUs they took on average; 0 where the system does not tell."""
        wall, own, worked = (now - then for now, then in zip(_clocks(), self._start, strict=True))
        return max(0.0, (worked - own) / wall - self._spare)


def _clocks() -> tuple[float, float, float]:
    """Returns the seconds of the clock, those that this process computed, and those that all did."""
    own = time.process_time()
    worked = worked_seconds()
    return time.perf_counter(), own, own if worked is None else worked


def time_layer(shape: Shape, autocast_dtype: torch.dtype | None) -> Seconds:
    """Returns the seconds of forward and both gradients of a convolution, own and library.

    Under autocast torch's own is given what its neighbours there would give it, and the own one float32.
    """

    def work(convolution: Callable[..., Tensor], dtype: torch.dtype) -> Callable[[], object]:
        order = torch.channels_last
        x = torch.randn(shape.images, shape.inputs, shape.height, shape.width, dtype=dtype)
        x = x.contiguous(memory_format=order).requires_grad_(not shape.is_first)
        weight = torch.randn(shape.outputs, shape.inputs, 3, 3).contiguous(memory_format=order)
        parameters = [weight, torch.randn(shape.outputs)][: 1 + shape.has_bias]
        wanted = [one.requires_grad_() for one in parameters] + ([] if shape.is_first else [x])
        gradient = torch.randn(shape.images, shape.outputs, shape.height, shape.width, dtype=dtype)
        gradient = gradient.contiguous(memory_format=order)

        def once() -> object:
            with _autocast(autocast_dtype):
                y = convolution(x, weight, parameters[1] if shape.has_bias else None)
            return torch.autograd.grad(y, wanted, gradient)

        return once

    def by_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, padding=1)

    works = {OWN: work(conv3x3, torch.float32), LIBRARY: work(by_torch, autocast_dtype or torch.float32)}
    return _by_turns(works, _LAYER_SECONDS)


def time_steps(
    network: nn.Module,
    images: Tensor,
    forms: Mapping[str, Collection[str]],
    autocast_dtype: torch.dtype | None,
) -> Seconds:
    """Returns the seconds of a forward and backward pass of a network in training mode, for each form.

    A form is the names of the layers that compute by `conv3x3`. The network's statistics change, and it is
    left in one of the forms.
    """
    learning = [one for one in network.train().parameters() if one.requires_grad]

    def work(names: Collection[str]) -> Callable[[], object]:
        def once() -> object:
            use_conv3x3(network, names)
            with _autocast(autocast_dtype):
                logits = network(images)
            loss = logits.float().logsumexp(1).mean()
            return torch.autograd.grad(loss, learning, allow_unused=True)

        return once

    return _by_turns({form: work(names) for form, names in forms.items()}, _STEP_SECONDS)


def _by_turns(works: Mapping[str, Callable[[], object]], limit_seconds: float) -> Seconds:
    """Returns the least seconds of each piece of work; they take turns, so that a burst of load hits all."""
    least = dict.fromkeys(works, math.inf)
    begun = time.perf_counter()
    for turn in range(_MOST_TURNS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            took = time.perf_counter() - start
            least[name] = min(least[name], took) if turn else math.inf
        if turn + 1 >= _LEAST_TURNS and time.perf_counter() - begun > limit_seconds:
            break
    return least


def _autocast(dtype: torch.dtype | None) -> AbstractContextManager[None]:
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)
