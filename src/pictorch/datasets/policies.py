"""TrivialAugment (Müller & Hutter, 2021) and RandAugment (Cubuk et al., 2019): operations drawn from a list.

Operations and ranges of strength are those of torchvision's TrivialAugmentWide and RandAugment.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets import colors, geometry
from pictorch.randomness import Purpose, integers, words
from pictorch.recipe import AugmentSection

# By their number: the first one changes nothing, the next five go into the image's matrix.
OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
    "brightness", "color", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
_SIGNED = np.array([1 <= number <= 9 for number in range(len(OPERATIONS))])
_BLENDS = {6: colors.brightness, 7: colors.saturation, 8: colors.contrast, 9: colors.sharpness}
_LEVELS: dict[int, Callable[[Tensor, Tensor], Tensor]] = {
    10: colors.posterize,
    11: colors.solarize,
    12: lambda images, _: colors.autocontrast(images),
    13: lambda images, _: colors.equalize(images),
}
BINS = 31
_NEXT_DRAW = 1 << 40  # above all sample numbers


def strengths(policy: str, side: int) -> NDArray[np.float64]:
    """Returns what the 31 strengths of each operation mean for images of `side` pixels, (14, 31).

    Shears as slopes, translations in pixels, rotations in degrees, blends as the distance of their
    factor from 1, bits to keep, thresholds of solarize; 0 where there is nothing to set.
    """
    wide = policy == "trivial_augment"
    share = np.arange(BINS) / (BINS - 1)
    shear, degrees, blend, bits = (0.99, 135.0, 0.99, 6) if wide else (0.3, 30.0, 0.9, 4)
    # TrivialAugment's 32 pixels are the side of CIFAR's images; smaller ones would leave the frame.
    pixels = np.trunc(share * (min(32, side) if wide else 150 / 331 * side))
    table = np.zeros((len(OPERATIONS), BINS))
    table[1:3] = shear * share
    table[3:5] = pixels
    table[5] = degrees * share
    table[6:10] = blend * share
    table[10] = 8 - np.rint(share * bits)
    table[11] = 255 * (1 - share)
    return table


def draw_policy(
    section: AugmentSection, side: int, *, seed: int, epoch: int, samples: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the operations of each image, by number, and their strengths, both (n, k), in their order."""
    is_trivial = section.policy == "trivial_augment"
    table = strengths(section.policy, side)
    operations, amounts = [], []
    for turn in range(1 if is_trivial else section.policy_operations):
        drawn = words(seed, Purpose.POLICY, samples + turn * _NEXT_DRAW, epoch)
        operation = integers(drawn[:, 0], 0, len(OPERATIONS))
        strength = integers(drawn[:, 1], 0, BINS) if is_trivial else section.policy_magnitude
        is_negative = (drawn[:, 2] >> 31 == 1) & _SIGNED[operation]
        operations.append(operation)
        amounts.append(np.where(is_negative, -1.0, 1.0) * table[operation, strength])
    return np.stack(operations, axis=1), np.stack(amounts, axis=1)


def policy_matrices(
    operations: NDArray[np.int64], amounts: NDArray[np.float64], side: int
) -> geometry.Matrices:
    """Returns the matrices of all geometric operations of each image, one after the other."""
    changes: dict[int, Callable[[NDArray[np.float64]], geometry.Matrices]] = {
        1: partial(geometry.shears, axis=0),
        2: partial(geometry.shears, axis=1),
        3: partial(geometry.translations, axis=0, side=side),
        4: partial(geometry.translations, axis=1, side=side),
        5: geometry.rotations,
    }
    matrices = geometry.unchanged(len(operations))
    for operation, amount in zip(operations.T, amounts.T, strict=True):
        for number, change in changes.items():
            rows = np.flatnonzero(operation == number)
            matrices[rows] = geometry.composed(matrices[rows], change(amount[rows]))
    return matrices


def recolored(images: Tensor, operations: NDArray[np.int64], amounts: Tensor) -> Tensor:
    """Returns uint8 images after the operations that change colours, in the order of each image.

    `operations` lies on the host, so that images are grouped by them without waiting for the device.
    """
    images = images.clone()
    for turn in range(operations.shape[1]):
        for number in (*_BLENDS, *_LEVELS):
            rows = np.flatnonzero(operations[:, turn] == number)
            if len(rows):
                index = torch.from_numpy(rows).to(images.device, non_blocking=True)
                chosen, amount = images.index_select(0, index), amounts[:, turn].index_select(0, index)
                images.index_copy_(0, index, _changed(number, chosen, amount))
    return images


def _changed(number: int, images: Tensor, amounts: Tensor) -> Tensor:
    if number in _LEVELS:
        return _LEVELS[number](images, amounts)
    return colors.as_images(_BLENDS[number](colors.as_pixels(images), 1 + amounts))
