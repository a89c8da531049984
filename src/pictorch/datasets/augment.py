"""Flip, padded crop and cutout on whole batches of uint8 images, each image with its own draw."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pictorch.errors import RecipeError
from pictorch.randomness import Purpose, integers, words
from pictorch.recipe import AugmentSection


@dataclass(frozen=True)
class Draws:
    """What was drawn for n images, one row each: mirrored or not, crop offset, cutout centre (y, x)."""

    flip: Tensor  # bool (n,)
    offset_yx: Tensor  # int64 (n, 2), in pixels of the padded image
    cutout_yx: Tensor  # int64 (n, 2), in pixels

    def rows(self, start: int, stop: int, step: int = 1) -> "Draws":
        """Returns the draws of a slice of the images."""
        cut = slice(start, stop, step)
        return Draws(self.flip[cut], self.offset_yx[cut], self.cutout_yx[cut])


def check_fits(section: AugmentSection, side: int) -> None:
    """Raises RecipeError where a crop or cutout is too large for images of `side` pixels."""
    problems = []
    if section.crop_padding and section.crop_padding >= side:
        problems.append(
            f"augment.crop_padding: {section.crop_padding} needs images larger than {side} pixels; "
            f"try `--set augment.crop_padding={side // 8}`"
        )
    if section.cutout > side:
        problems.append(
            f"augment.cutout: {section.cutout} is more than the image's {side} pixels; "
            f"try `--set augment.cutout={side // 4}`"
        )
    if problems:
        raise RecipeError(*problems)


def draw(
    section: AugmentSection,
    side: int,
    *,
    seed: int,
    epoch: int,
    samples: NDArray[np.int64],
    device: torch.device,
) -> Draws:
    """Returns the draws of the given samples in an epoch, a function of (seed, epoch, sample)."""
    moved = words(seed, Purpose.FLIP_AND_CROP, samples, epoch)
    if section.flip == "alternating":
        # Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.6.
        flip = (words(seed, Purpose.FLIP_PARITY, samples)[:, 0] + epoch) % 2 == 1
    else:
        flip = (moved[:, 0] >> 31 == 1) & (section.flip == "random")
    offsets = integers(moved[:, 1:3], 0, 2 * section.crop_padding + 1)
    if section.cutout:
        centres = integers(words(seed, Purpose.CUTOUT, samples, epoch)[:, :2], 0, side)
    else:
        centres = np.zeros((len(samples), 2), np.int64)
    tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in (flip, offsets, centres))
    return Draws(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def augment(images: Tensor, draws: Draws, section: AugmentSection, mean_color: Tensor) -> Tensor:
    """Returns the changed images, uint8 (n, side, side, 3), on the device of `images`.

    `mean_color`, uint8 (3,), fills the cutout square.
    """
    if section.crop_padding:
        images = _crop(
            _pad(images, section.crop_padding, section.crop_fill), draws.offset_yx, images.shape[1]
        )
    if section.flip != "none":
        images = torch.where(draws.flip[:, None, None, None], images.flip(2), images)
    if section.cutout:
        images = _cut_out(images, draws.cutout_yx, section.cutout, mean_color)
    return images


def _pad(images: Tensor, padding: int, fill: str) -> Tensor:
    count, side, _, channels = images.shape
    p, end = padding, padding + side
    padded = images.new_zeros((count, side + 2 * p, side + 2 * p, channels))
    padded[:, p:end, p:end] = images
    if fill == "reflect":
        padded[:, p:end, :p] = images[:, :, 1 : p + 1].flip(2)
        padded[:, p:end, end:] = images[:, :, side - 1 - p : side - 1].flip(2)
        padded[:, :p] = padded[:, p + 1 : 2 * p + 1].flip(1)
        padded[:, end:] = padded[:, end - 1 - p : end - 1].flip(1)
    return padded


def _crop(padded: Tensor, offset_yx: Tensor, side: int) -> Tensor:
    """Copies one window of each padded image; the view of all windows costs no memory."""
    count, padded_side, _, channels = padded.shape
    offsets = padded_side - side + 1
    image_stride, row_stride, column_stride, _ = padded.stride()
    windows = padded.as_strided(
        (count, offsets, offsets, side, side * channels),
        (image_stride, row_stride, column_stride, row_stride, 1),
    )
    rows = torch.arange(count, device=padded.device)
    return windows[rows, offset_yx[:, 0], offset_yx[:, 1]].view(count, side, side, channels)


def _cut_out(images: Tensor, centre_yx: Tensor, size: int, mean_color: Tensor) -> Tensor:
    """DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", 2017."""
    position = torch.arange(images.shape[1], device=images.device)
    first = centre_yx - size // 2
    inside = (position >= first[..., None]) & (position < first[..., None] + size)  # (n, 2, side)
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    return torch.where(square[..., None], mean_color, images)
