"""Views of images as tensors, and the mean of what a classifier answers to them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pictorch.views import View, view_of


def tensor_view(images: Tensor, view: View) -> Tensor:
    """Returns a view of uint8 images (N, H, W, 3), of the same shape."""
    return cast(Tensor, view_of(images, view, torch.cat, torch.flip))


def logits_of_views(classifier: nn.Module, images: Tensor, views: Sequence[View]) -> Tensor:
    """Returns the weighted mean (N, num_classes) of the logits of the views."""
    if len(views) == 1:
        return cast(Tensor, classifier(images))
    together = classifier(torch.cat([tensor_view(images, view) for view in views]))
    logits = together.reshape(len(views), -1, together.shape[1])
    return cast(Tensor, sum(view.weight * logits[place] for place, view in enumerate(views)))
