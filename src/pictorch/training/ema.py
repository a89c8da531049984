"""An exponential moving average of weights and statistics, which is judged in place of the last step."""

import copy

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

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the network's state after step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, values = self._floats(self.network), self._floats(network)
        torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in zip(self.network.buffers(), network.buffers(), strict=True):
            if not average.is_floating_point():
                average.copy_(value)

    @staticmethod
    def _floats(network: nn.Module) -> list[Tensor]:
        floats = (t.detach() for t in network.state_dict().values() if t.is_floating_point())
        return list({t.data_ptr(): t for t in floats}.values())  # tied weights move once
