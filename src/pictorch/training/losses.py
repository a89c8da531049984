"""Losses by name; each takes logits (N, C) and labels (N,) and returns their mean, float.

Cross-entropy is over the softmax of the logits. The others set each class's logit against a one-hot
target: binary cross-entropy over its sigmoid, squared and smooth absolute error over the logit itself.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from pictorch.recipe import LossSection
from pictorch.training.own_loss import own_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(section: LossSection, own: Loss | None = None) -> Loss:
    """Returns the loss that a recipe names; `own` is one given in Python, for a name of the user's own.

    Label smoothing: Szegedy et al., "Rethinking the Inception architecture", 2015, section 7.
    """
    if ":" in section.name or own is not None:
        return own_loss(section.name, own)
    smoothing = section.label_smoothing
    if section.name == "cross_entropy":
        return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=smoothing)
    elementwise = ELEMENTWISE_LOSSES[section.name]
    return lambda logits, labels: elementwise(logits, _targets(logits, labels, smoothing))


ELEMENTWISE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": F.binary_cross_entropy_with_logits,
    "mse": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
}


def _targets(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Returns one-hot rows (N, C) whose `smoothing` share is spread over all classes."""
    one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return one_hot * (1 - smoothing) + smoothing / logits.shape[1]
