"""Training at growing resolution: small images first, which cost less, the whole size at the end.

After J. Howard et al. in DAWNBench, 2018, and Tan & Le, "EfficientNetV2", 2021, section 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pictorch.datasets.colors import as_images
from pictorch.errors import RecipeError
from pictorch.networks import Classifier
from pictorch.recipe import AugmentSection


def side_at(section: AugmentSection, share: float, whole_side: int) -> int:
    """Returns the side in pixels that the network sees when `share` of the training is done."""
    for side, part in section.sizes:
        if share < part:
            return side
        share -= part
    return whole_side


def shrunk(images: Tensor, side: int) -> Tensor:
    """Returns uint8 images (n, side, side, 3), smoothed so that no detail turns into false patterns.

    Images that are no larger come back as they are: the network's graph enlarges them.
    """
    if images.shape[1] <= side:
        return images
    images_nchw = images.permute(0, 3, 1, 2).float()
    small = F.interpolate(images_nchw, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return as_images(small)


def check_sizes(section: AugmentSection, network: Classifier) -> None:
    """Raises RecipeError where a size is not below the whole one, or too small for the network."""
    whole_side = network.normalization.image_size
    for side, _ in section.sizes:
        if side >= whole_side:
            raise RecipeError(
                f"augment.sizes: {side} is not below the {whole_side} pixels that the network sees; "
                f"try `--set 'augment.sizes=[[{whole_side * 5 // 8}, 0.35]]'`"
            )
        if not _takes(network, side):
            raise RecipeError(
                f"augment.sizes: the network cannot take images of {side} pixels in place of {whole_side}; "
                "give `--set 'augment.sizes=[]'`, or larger ones"
            )


def _takes(network: Classifier, side: int) -> bool:
    was_training = network.training
    stored_side = min(side, network.input_spec.stored_size)
    images = torch.zeros((2, stored_side, stored_side, 3), dtype=torch.uint8)
    whole_side, network.normalization.image_size = network.normalization.image_size, side
    try:
        with torch.no_grad():
            network.eval()(images)
    except (RuntimeError, ValueError, AssertionError):
        return False
    finally:
        network.normalization.image_size = whole_side
        network.train(was_training)
    return True
