"""Losses by name; each takes logits (N, C) and targets and returns their mean over the images, float.

Targets are labels int64 (N,), or where images are mixed probabilities of the classes (N, C).

Cross-entropy is over the softmax of the logits. The others set each class's logit against a one-hot
target: binary cross-entropy over its sigmoid, squared and smooth absolute error over the logit itself.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pictorch.errors import RecipeError, unknown
from pictorch.recipe import LossSection
from pictorch.training.own_loss import own_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(section: LossSection, own: Loss | None = None, weights: Tensor | None = None) -> Loss:
    """Returns the loss that a recipe names; `own` is one given in Python, for a name of the user's own.

    With `weights` (C,) the loss of each image is multiplied by that of its class, for probabilities by
    their mean under these, before the mean over all images is taken.
    Label smoothing: Szegedy et al., "Rethinking the Inception architecture", 2015, section 7.
    """
    if ":" in section.name or own is not None:
        return own_loss(section.name, own)
    reduction = "mean" if weights is None else "none"

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            targets = targets.to(logits.dtype)
        if section.name == "cross_entropy":
            smoothing = section.label_smoothing
            return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction=reduction)
        elementwise = ELEMENTWISE_LOSSES[section.name]
        return elementwise(logits, _smoothed(logits, targets, section.label_smoothing), reduction=reduction)

    if weights is None:
        return loss

    def weighted_loss(logits: Tensor, targets: Tensor) -> Tensor:
        of_images = targets.to(weights.dtype) @ weights if targets.is_floating_point() else weights[targets]
        losses = loss(logits, targets)  # (N,), or (N, C) of single scores
        return (losses.reshape(len(losses), -1).mean(1) * of_images).mean()

    return weighted_loss


def class_weights(
    section: LossSection, labels: NDArray[np.int64], class_names: Sequence[str]
) -> Tensor | None:
    """Returns what the recipe has the loss of each class multiplied by, float64 (C,), None for nothing.

    `labels` are those of the training images. Raises RecipeError for a class that there is not.
    """
    asked = section.class_weights
    if asked is None:
        return None
    if asked == "balanced":
        counts = torch.bincount(torch.from_numpy(labels), minlength=len(class_names)).double()
        return counts.mean() / counts
    for name in asked:
        if name not in class_names:
            raise RecipeError(f"loss.class_weights: {unknown('class', name, class_names)}")
    return torch.tensor([asked.get(name, 1.0) for name in class_names], dtype=torch.float64)


def sum_of_absolute_weights(network: nn.Module) -> Tensor:
    """Returns what loss.l1 multiplies (Tibshirani, "Regression shrinkage and selection via the lasso", 1996).

    Biases and the scales of normalisation are left out.
    """
    return torch.stack([weight.abs().sum() for weight in network.parameters() if weight.ndim > 1]).sum()


ELEMENTWISE_LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": F.binary_cross_entropy_with_logits,
    "mse": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
}


def _smoothed(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Returns probabilities (N, C) whose `smoothing` share is spread over all classes."""
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return targets * (1 - smoothing) + smoothing / logits.shape[1]
