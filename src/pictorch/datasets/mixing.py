"""MixUp and CutMix: each image of a batch is mixed with the next one, labels alike.

The order of an epoch is drawn, so the next image of the batch is any image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pictorch.randomness import Purpose, beta, integers, words
from pictorch.recipe import AugmentSection


@dataclass(frozen=True)
class Mix:
    """What was drawn for a step: the share that each image keeps, and the rectangle that the next one fills.

    `box` holds top, left, bottom and right in pixels (CutMix), or is None (MixUp).
    """

    share: float
    box: tuple[int, int, int, int] | None


def mixes(section: AugmentSection) -> bool:
    """Returns whether the section mixes images."""
    return section.mixup > 0 or section.cutmix > 0


def draw_mix(section: AugmentSection, side: int, *, seed: int, step: int) -> Mix:
    """Returns the mix of a step, counted over the whole training: a function of (seed, step).

    With both kinds each step draws one. The share of CutMix is that of the pixels that stay, exactly.
    """
    drawn = words(seed, Purpose.MIXING, np.array([step]))[0]
    cuts = section.cutmix > 0 and (section.mixup == 0 or bool(drawn[0] >> 31))
    share = beta(seed, Purpose.MIXING, section.cutmix if cuts else section.mixup, step)
    if not cuts:
        # Zhang et al., "mixup: Beyond empirical risk minimization", 2018.
        return Mix(share, None)
    # Yun et al., "CutMix: Regularization strategy to train strong classifiers", 2019.
    size = round(side * (1 - share) ** 0.5)
    firsts = integers(drawn[1:3], 0, side) - size // 2
    top, left, bottom, right = np.clip((*firsts, *(firsts + size)), 0, side).tolist()
    return Mix(1 - (bottom - top) * (right - left) / side**2, (top, left, bottom, right))


def mixed(images: Tensor, labels: Tensor, mix: Mix, num_classes: int) -> tuple[Tensor, Tensor]:
    """Returns mixed images, uint8 (n, side, side, 3), and class probabilities, float32 (n, num_classes)."""
    if mix.box is None:
        pixels = images.to(torch.float32)
        images = pixels.roll(-1, 0).lerp_(pixels, mix.share).round_().to(torch.uint8)
    else:
        top, left, bottom, right = mix.box
        following, images = images.roll(-1, 0), images.clone()
        images[:, top:bottom, left:right] = following[:, top:bottom, left:right]
    of_class = torch.arange(num_classes, device=labels.device)
    targets = (labels[:, None] == of_class).to(torch.float32)
    return images, targets * mix.share + targets.roll(-1, 0) * (1 - mix.share)
