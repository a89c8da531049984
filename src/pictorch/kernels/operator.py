"""The operator `pictorch::conv3x3`: 3x3 convolution by the kernels in use, else by torch's own.

torch.library knows it, its gradients and its shapes, so it trains and compiles as torch's operators do.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.kernels.library import Kernels

_in_use: Kernels | None = None


def use(kernels: Kernels | None) -> None:
    """Makes the operator compute with these kernels from now on; with None, with torch's own convolution."""
    global _in_use  # an operator of torch.library has no other way to be told
    _in_use = kernels


def suits(layer: nn.Conv2d) -> bool:
    """Returns whether `conv3x3` computes what this layer does: 3x3, stride 1, zeros around, one group."""
    return (
        layer.kernel_size == (3, 3)
        and layer.stride == (1, 1)
        and layer.padding in ((1, 1), "same")
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )


@torch.library.custom_op("pictorch::conv3x3", mutates_args=())
def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns (N, O, H, W), in channels-last order, for x (N, C, H, W), weight (O, C, 3, 3) and bias (O)."""
    if _in_use is not None and _is_for_kernels(x, weight):
        return _in_use.forward(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("pictorch::conv3x3_input_gradient", mutates_args=())
def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Returns the gradient of x (N, C, H, W), in channels-last order, from that of the output."""
    if _in_use is not None and _is_for_kernels(gradient, weight):
        return _in_use.input_gradient(gradient, weight)
    sizes = (gradient.shape[0], weight.shape[1], *gradient.shape[2:])
    of_x, _, _ = _by_torch(gradient, gradient.new_empty(1).expand(sizes), weight, [True, False, False])
    return of_x.contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("pictorch::conv3x3_weight_gradient", mutates_args=())
def weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of weight (O, C, 3, 3), in its order of memory, and of bias (O)."""
    if _in_use is not None and _is_for_kernels(x, gradient):
        return _in_use.weight_gradient(x, gradient, weight)
    _, of_weight, of_bias = _by_torch(gradient, x, weight, [False, True, True])
    return torch.empty_like(weight).copy_(of_weight), of_bias


def _by_torch(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> list[Tensor]:
    ones, zeros = [1, 1], [0, 0]
    geometry = ([weight.shape[0]], ones, ones, ones, False, zeros, 1)
    return list(torch.ops.aten.convolution_backward(gradient, x, weight, *geometry, wanted))


def _is_for_kernels(*tensors: Tensor) -> bool:
    return all(one.dtype is torch.float32 and one.device.type == "cpu" and one.numel() > 0 for one in tensors)


def _empty(like: Tensor, channels: int) -> Tensor:
    shape = (like.shape[0], channels, *like.shape[2:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


@conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _empty(x, weight.shape[0])


@input_gradient.register_fake
def _(gradient: Tensor, weight: Tensor) -> Tensor:
    return _empty(gradient, weight.shape[1])


@weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight), gradient.new_empty(gradient.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (x, weight), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
    of_x = input_gradient(gradient, weight) if for_x else None
    of_weight, of_bias = weight_gradient(x, gradient, weight) if for_weight or for_bias else (None, None)
    return of_x, of_weight if for_weight else None, of_bias if for_bias else None


conv3x3.register_autograd(_gradients, setup_context=_keep)
# Under autocast the kernels keep to their own precision.
conv3x3.register_autocast("cpu", torch.float32)
