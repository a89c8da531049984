"""Losses by name; each takes logits (N, C) and labels (N,) and returns their mean, float."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from pictorch.recipe import LossSection

Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(section: LossSection) -> Loss:
    """Returns the loss that a recipe names."""
    return LOSSES[section.name](section)


def _cross_entropy(section: LossSection) -> Loss:
    """Label smoothing: Szegedy et al., "Rethinking the Inception architecture", 2015, section 7."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=section.label_smoothing)

    return loss


LOSSES: dict[str, Callable[[LossSection], Loss]] = {"cross_entropy": _cross_entropy}
