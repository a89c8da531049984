"""Geometric changes: all of an image's become one matrix, so that its pixels are interpolated once.

A matrix (2, 3) says where a place of the result is read: source = A @ (x, y) + t. Both are measured
from the middle of the image in halves of its side, x to the right and y down.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets.colors import as_images
from pictorch.randomness import UintArray, reals

Matrices = NDArray[np.float64]

_LARGEST_RATIO = 4 / 3


def unchanged(count: int) -> Matrices:
    """Returns matrices (count, 2, 3) that leave images as they are."""
    return np.tile(np.eye(2, 3), (count, 1, 1))


def composed(first: Matrices, second: Matrices) -> Matrices:
    """Returns the matrices of two changes of each image, one after the other."""
    product = first[:, :, :2] @ second
    product[:, :, 2] += first[:, :, 2]
    return product


def resized_crops(random_words: UintArray, smallest_area: float) -> Matrices:
    """Returns matrices of crops inside the image that are resized to its whole, of four words each.

    Shares of the area are even between `smallest_area` and 1, logarithms of width / height between
    those of 3:4 and 4:3, as far as both sides fit (Szegedy et al., "Going deeper with convolutions", 2015).
    """
    area = reals(random_words[:, 0], smallest_area, 1)
    limit = np.minimum(np.log(_LARGEST_RATIO), -np.log(area))
    ratio = np.exp(reals(random_words[:, 1], -limit, limit))
    sides = np.sqrt(np.stack((area * ratio, area / ratio), axis=1))
    matrices = unchanged(len(area)) * sides[:, :, None]
    matrices[:, :, 2] = reals(random_words[:, 2:], sides - 1, 1 - sides)
    return matrices


def rotations(degrees: NDArray[np.float64]) -> Matrices:
    """Returns matrices that turn images counter-clockwise about their middle."""
    matrices = unchanged(len(degrees))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrices[:, 0, 0] = matrices[:, 1, 1] = cosine
    matrices[:, 0, 1], matrices[:, 1, 0] = -sine, sine
    return matrices


def shears(amounts: NDArray[np.float64], axis: int) -> Matrices:
    """Returns matrices that slant images along x (axis 0) or y (axis 1); the upper left corner stays."""
    matrices = unchanged(len(amounts))
    matrices[:, axis, 1 - axis] = matrices[:, axis, 2] = amounts
    return matrices


def translations(pixels: NDArray[np.float64], axis: int, side: int) -> Matrices:
    """Returns matrices that move images of `side` pixels along x (axis 0) or y (axis 1)."""
    matrices = unchanged(len(pixels))
    matrices[:, axis, 2] = -2 * pixels / side
    return matrices


def resample(images: Tensor, sources: Tensor, fill: Tensor) -> Tensor:
    """Returns images uint8 (n, side, side, 3) read at float32 matrices (n, 2, 3), bilinearly, rounded once.

    Places beyond the image hold `fill`, uint8 (3,). Those within half a pixel of its edge are of the
    outermost pixels and hold their colour, so that a crop along the edge has no seam.
    """
    side = images.shape[1]
    centres = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    rows = sources[:, :, None, None]  # (n, 2, 1, 1, 3)
    places = rows[..., 0] * centres + rows[..., 1] * centres[:, None] + rows[..., 2]  # (n, 2, side, side)
    is_inside = (places.abs().amax(1, keepdim=True) <= 1).to(torch.float32)
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    grid = places.permute(0, 2, 3, 1)
    read = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    color = fill[:, None, None].to(torch.float32)
    return as_images((read - color).mul_(is_inside).add_(color))
