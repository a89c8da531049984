"""An exponential moving average of weights and statistics, which is judged in place of the last step."""

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the floating-point state of a network after each step.

    The decay rises as (1 + t) / (10 + t) to its value, so that the start is soon forgotten; as a
    function of the step it needs no state of its own (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        self._floats, self._others = _places(network)
        self._average_floats, self._average_others = _places(self.network)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the network's state after step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(_tensors(self._average_floats), _tensors(self._floats), 1 - decay)
        for average, value in zip(_tensors(self._average_others), _tensors(self._others), strict=True):
            average.copy_(value)


_Place = tuple[Mapping[str, Tensor | None], str]


def _places(network: nn.Module) -> tuple[list[_Place], list[_Place]]:
    """Returns where the network has floating-point state, tied weights once, and its other buffers.

    Listed once, as that takes as long as the averaging; a layer may put another tensor into a place.
    """
    floats: dict[int, _Place] = {}
    others: list[_Place] = []
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if not tensor.is_floating_point():
                    others.append((tensors, name))
                elif name not in module._non_persistent_buffers_set:
                    floats.setdefault(tensor.data_ptr(), (tensors, name))
    return list(floats.values()), others


def _tensors(places: list[_Place]) -> list[Tensor]:
    return [cast(Tensor, tensors[name]) for tensors, name in places]
