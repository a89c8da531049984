"""Logits of a whole set of images: the one path that validation and evaluation share."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from pictorch.datasets.batches import evaluation_batches
from pictorch.datasets.splits import ImageSet
from pictorch.networks import Classifier
from pictorch.networks.views import tensor_view
from pictorch.views import IMAGE, View


def predict_logits(
    classifier: Classifier,
    image_set: ImageSet,
    *,
    batch_size: int,
    device: torch.device,
    view: View = IMAGE,
) -> NDArray[np.float32]:
    """Returns logits float32 (len(image_set), num_classes) in the order of the set, of a view of each image.

    The classifier is used as it lies on the device, in evaluation mode and without autocast, so
    that the numbers are those that the exported float32 graph gives.
    """
    was_training = classifier.training
    classifier.eval()
    # One array made beforehand: small ones kept between batches would split the heap that the
    # activations are freed to, and it would grow with every batch.
    logits = np.empty((len(image_set), classifier.num_classes), np.float32)
    start = 0
    with torch.inference_mode(), _exact(device):
        for images, _ in evaluation_batches(image_set, batch_size, device):
            logits[start : start + len(images)] = classifier(tensor_view(images, view)).float().cpu().numpy()
            start += len(images)
    classifier.train(was_training)
    return logits


def _exact(device: torch.device) -> AbstractContextManager[None]:
    """Keeps cuDNN to float32 proper and to one algorithm; elsewhere nothing is needed."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
