"""The operators `conv3x3` and `conv3x3_pool2`: 3x3 convolution by the kernels in use, else by torch's own.

torch.library knows them, their gradients and their shapes, so they train and compile as torch's operators do.
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


def in_use() -> Kernels | None:
    """Returns the kernels that the operator computes with, None where it is torch's own convolution."""
    return _in_use


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
    if _in_use is not None and _fits(x, weight, bias):
        return _in_use.forward(x, weight, bias)
    return _channels_last(F.conv2d(x, weight, bias, padding=1))


@torch.library.custom_op("pictorch::conv3x3_input_gradient", mutates_args=())
def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Returns the gradient of x (N, C, H, W), in channels-last order, from that of the output."""
    if _in_use is not None and _is_for_kernels(gradient, weight):
        return _in_use.input_gradient(gradient, weight)
    sizes = (gradient.shape[0], weight.shape[1], *gradient.shape[2:])
    of_x, _, _ = _by_torch(gradient, gradient.new_empty(1).expand(sizes), weight, [True, False, False])
    return _channels_last(of_x)


@torch.library.custom_op("pictorch::conv3x3_weight_gradient", mutates_args=())
def weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of weight (O, C, 3, 3), in its order of memory, and of bias (O)."""
    if _in_use is not None and _is_for_kernels(x, gradient):
        return _in_use.weight_gradient(x, gradient, weight)
    _, of_weight, of_bias = _by_torch(gradient, x, weight, [False, True, True])
    return torch.empty_like(weight).copy_(of_weight), of_bias


def conv3x3_pool2(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns `conv3x3` after F.max_pool2d(..., 2): (N, O, H // 2, W // 2), in channels-last order."""
    y: Tensor = pooled(x, weight, bias)[0]
    return y


@torch.library.custom_op("pictorch::conv3x3_pool2", mutates_args=())
def pooled(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns what `conv3x3_pool2` does, and which pixel of each window it was: 0 to 3, uint8."""
    if _in_use is not None and _fits(x, weight, bias) and min(x.shape[2:]) > 1:
        return _in_use.forward_pool2(x, weight, bias)
    y, place = F.max_pool2d(F.conv2d(x, weight, bias, padding=1), 2, return_indices=True)
    y = _channels_last(y)  # which says so where x is no batch
    which = place // x.shape[3] % 2 * 2 + place % x.shape[3] % 2
    return y, _channels_last(which.to(torch.uint8))


@torch.library.custom_op("pictorch::conv3x3_pool2_input_gradient", mutates_args=())
def pooled_input_gradient(gradient: Tensor, which: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """Returns the gradient of x (N, C, height, width), in channels-last order, from that of the output."""
    if _in_use is not None and _is_for_kernels(gradient, weight):
        return _in_use.input_gradient(gradient, weight, which, (height, width))
    whole: Tensor = input_gradient(_unpooled(gradient, which, height, width), weight)
    return whole


@torch.library.custom_op("pictorch::conv3x3_pool2_weight_gradient", mutates_args=())
def pooled_weight_gradient(
    x: Tensor, gradient: Tensor, which: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of weight (O, C, 3, 3), in its order of memory, and of bias (O)."""
    if _in_use is not None and _is_for_kernels(x, gradient):
        return _in_use.weight_gradient(x, gradient, weight, which)
    whole = _unpooled(gradient, which, *x.shape[2:])
    of_weight, of_bias = weight_gradient(x, whole, weight)
    return of_weight, of_bias


def _unpooled(gradient: Tensor, which: Tensor, height: int, width: int) -> Tensor:
    """Returns the gradient of the larger map (N, O, height, width): zero but for the pixels taken."""
    rows = torch.arange(gradient.shape[2], device=gradient.device)[:, None] * 2 + which // 2
    columns = torch.arange(gradient.shape[3], device=gradient.device) * 2 + which % 2
    whole = gradient.new_zeros(*gradient.shape[:2], height * width)
    whole.scatter_(2, (rows * width + columns).flatten(2), gradient.flatten(2))
    return whole.view(*gradient.shape[:2], height, width)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _by_torch(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> list[Tensor]:
    ones, zeros = [1, 1], [0, 0]
    geometry = ([weight.shape[0]], ones, ones, ones, False, zeros, 1)
    return list(torch.ops.aten.convolution_backward(gradient, x, weight, *geometry, wanted))


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Returns whether the kernels can take them; what fits nobody is left to torch, which says so."""
    given = (x, weight) if bias is None else (x, weight, bias)
    has_size = bias is None or bias.shape == weight.shape[:1]
    return x.ndim == 4 and has_size and weight.shape[1:] == (x.shape[1], 3, 3) and _is_for_kernels(*given)


def _is_for_kernels(*tensors: Tensor) -> bool:
    return all(one.dtype is torch.float32 and one.device.type == "cpu" and one.numel() > 0 for one in tensors)


def _empty(like: Tensor, channels: int, *size: int) -> Tensor:
    shape = (like.shape[0], channels, *(size or like.shape[2:]))
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


@pooled.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    y = _empty(x, weight.shape[0], x.shape[2] // 2, x.shape[3] // 2)
    return y, torch.empty_like(y, dtype=torch.uint8)


@pooled_input_gradient.register_fake
def _(gradient: Tensor, which: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    return _empty(gradient, weight.shape[1], height, width)


@pooled_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor, which: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight), gradient.new_empty(gradient.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (x, weight), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
    of_x = input_gradient(gradient, weight) if for_x else None
    of_weight, of_bias = weight_gradient(x, gradient, weight) if for_weight or for_bias else (None, None)
    return of_x, of_weight if for_weight else None, of_bias if for_bias else None


def _keep_pooled(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: tuple[Tensor, Tensor]
) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs[:2], output[1])


def _pooled_gradients(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    (x, weight, which), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
    of_x = pooled_input_gradient(gradient, which, weight, *x.shape[2:]) if for_x else None
    of_weight, of_bias = (
        pooled_weight_gradient(x, gradient, which, weight) if for_weight or for_bias else (None, None)
    )
    return of_x, of_weight if for_weight else None, of_bias if for_bias else None


conv3x3.register_autograd(_gradients, setup_context=_keep)
pooled.register_autograd(_pooled_gradients, setup_context=_keep_pooled)
for _operator in (conv3x3, pooled):  # under autocast the kernels keep to their own precision
    _operator.register_autocast("cpu", torch.float32)
