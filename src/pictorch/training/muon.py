"""Muon: the momentum of a convolution's filters is made an orthogonal matrix before it moves them.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pictorch.training.sgd import FusedSGD

ParameterList = list[nn.Parameter]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(FusedSGD):
    """SGD with momentum whose groups with `filters` hold weights of ndim > 1 that move by Muon.

    In them `weight_decay` is decoupled, and a step uses up the gradient. A filter bank (out, in, k, k)
    counts as one matrix (out, in * k * k). `filters_momentum` is theirs, `iterations` those of
    `orthogonalized`; with `fixed_norm` a bank has the norm sqrt(out) before each step.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, lr, momentum, nesterov)
        self._step_supports_amp_scaling = False  # fp16's scaler divides the gradients before the step

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes a saved state, where groups of filters may lack what they have had by default."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            if group.get("filters"):
                group.setdefault("filters_momentum", group["momentum"])
                group.setdefault("iterations", 5)
                group.setdefault("fixed_norm", False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves the filters that have a gradient, then the rest as SGD does."""
        for group in self.param_groups:
            if group.get("filters"):
                for filters in _of_equal_shape(group["params"]):
                    self._move(filters, group)
        super().step()

    def _move(self, filters: ParameterList, group: dict[str, Any]) -> None:
        momentum, lr, directions = group["filters_momentum"], group["lr"], []
        for parameter in filters:
            assert parameter.grad is not None
            direction = parameter.grad
            if momentum:
                velocity = self.state[parameter]["momentum_buffer"].mul_(momentum).add_(direction)
                direction = direction.add(velocity, alpha=momentum) if group["nesterov"] else velocity
            directions.append(direction.flatten(1))
            parameter.grad = None
        steps = orthogonalized(torch.stack(directions), group["iterations"])
        rows, columns = steps.shape[1:]
        for parameter, step in zip(filters, steps, strict=True):
            scale = rows**0.5 / parameter.norm() if group["fixed_norm"] else 1
            parameter.mul_(scale * (1 - lr * group["weight_decay"]))
            parameter.sub_(step.view(parameter.shape) * (lr * max(1, rows / columns) ** 0.5))


def orthogonalized(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Returns (B, rows, columns) matrices with the singular vectors of the given ones and values near 1.

    Newton-Schulz iterations of an odd polynomial; five bring the singular values to between 0.68 and 1.14.
    On CUDA they are done in bf16, otherwise in the type of the matrices.
    """
    x = matrices.bfloat16() if matrices.is_cuda and matrices.dtype == torch.float32 else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = _iterated(x, iterations) if x.dtype == torch.bfloat16 else _factor(x @ x.mT, iterations) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)


def _iterated(x: Tensor, iterations: int) -> Tensor:
    """Returns what the iterations make of x, one after the other, which forgives the rounding of bf16."""
    a, b, c = _COEFFICIENTS
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _factor(gram: Tensor, iterations: int) -> Tensor:
    """Returns P (B, rows, rows), with which P x is what the iterations make of x; `gram` is x times x.mT.

    Each iteration multiplies x by a polynomial Q of its Gram matrix, which becomes Q gram Q; so the long
    side of a filter bank, nine times the short one where k is 3, is in two products however many there are.
    """
    a, b, c = _COEFFICIENTS
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    factor = polynomial = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    for _ in range(iterations - 1):
        gram = polynomial @ gram @ polynomial
        polynomial = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor = polynomial @ factor
    return factor


def _of_equal_shape(parameters: ParameterList) -> list[ParameterList]:
    """Returns those that have a gradient, so together that one product does the work of several."""
    together: dict[tuple[int, ...], ParameterList] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            together.setdefault(tuple(parameter.shape), []).append(parameter)
    return list(together.values())
