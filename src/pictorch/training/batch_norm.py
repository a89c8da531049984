"""Batch norm over the images of all processes, on any device.

S. Ioffe & C. Szegedy, "Batch normalization", 2015; over several devices as in C. Peng et al., "MegDet: a
large mini-batch object detector", 2018. torch.nn.SyncBatchNorm is for GPUs only, and another kind of layer.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pictorch.training.group import Group


class SynchronizedBatchNorm(TorchFunctionMode):
    """While it lasts, every batch norm that trains takes mean and variance over the whole group.

    The layers stay what they are, in whatever network. All processes must have as many images.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._group = group

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Stands in for what torch does when a function of its own is called."""
        if function is F.batch_norm:
            return _batch_norm(self._group, *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _batch_norm(
    group: Group,
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Does what torch.nn.functional.batch_norm does, for images (N, C, ...) of all processes together."""
    if not training:
        return F.batch_norm(images, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, var, count = _statistics(group, images)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
    normalized: Tensor = _Normalize.apply(images, weight, bias, mean, var, count, eps, group)
    return normalized


@torch.no_grad()
def _statistics(group: Group, images: Tensor) -> tuple[Tensor, Tensor, int]:
    """Returns mean and biased variance (C,) over the group, and the number of values behind each.

    What is summed over processes is float64, so that squares lose nothing when the mean is taken away.
    """
    channels = images.shape[1]
    dtype = torch.float32 if images.dtype in (torch.bfloat16, torch.float16) else images.dtype
    unused = torch.zeros(channels, dtype=dtype, device=images.device)
    own_mean, own_var = torch.batch_norm_update_stats(images, unused, unused.clone(), 0.0)
    own_count = images.numel() // channels
    sums = own_mean.double() * own_count
    squares = own_var.double() * own_count + sums * own_mean.double()
    totals = group.sum_(torch.cat([sums, squares])) / (own_count * group.world)
    mean, mean_of_squares = totals.chunk(2)
    var = (mean_of_squares - mean.square()).clamp_(min=0)
    return mean.to(dtype), var.to(dtype), own_count * group.world


class _Normalize(torch.autograd.Function):
    """Normalises with statistics of the group, which depend on every image of it."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: int,
        eps: float,
        group: Group,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, mean, var)
        ctx.count, ctx.eps, ctx.group = count, eps, group
        return F.batch_norm(images, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, var = ctx.saved_tensors
        # As if the statistics were constants; then what they add, which is linear in the images.
        gradient, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], images, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = ctx.group.sum_(torch.cat([of_weight.double(), of_bias.double()])) / ctx.count
        scale = torch.rsqrt(var.double() + ctx.eps) * (1.0 if weight is None else weight.double())
        along, constant = ((scale.repeat(2) * sums).to(mean.dtype)).chunk(2)
        gradient = gradient - F.batch_norm(images, mean, var, along, constant, False, 0.0, ctx.eps)
        needs = ctx.needs_input_grad
        return (gradient, of_weight if needs[1] else None, of_bias if needs[2] else None, *[None] * 5)
