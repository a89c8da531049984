"""Augmentation of whole batches of uint8 images, each image with its own draw.

`draw` computes what happens to an image, from seed, epoch and sample; `augment` does it, and draws nothing.
Flip, padded crop, cutout and erasing copy pixels exactly. Resized crop, rotation and a policy's geometry
are one interpolation; then come the policy's colours, then the colour jitter.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets import geometry
from pictorch.datasets.colors import jitter
from pictorch.datasets.policies import draw_policy, policy_matrices, recolored
from pictorch.errors import RecipeError
from pictorch.randomness import Purpose, integers, reals, words
from pictorch.recipe import AugmentSection

_ERASED_AREA = (0.02, 0.33)
_LARGEST_ERASED_RATIO = 10 / 3
_NO_JITTER = np.array([1.0, 1.0, 1.0, 0.0])
_NEXT_DRAW = 1 << 40  # above all sample numbers
_ON_THE_HOST = {"is_moved", "operations"}


@dataclass(frozen=True)
class Draws:
    """What was drawn for n images, one row each; None where the recipe does not ask for it.

    Matrices say where each place of the result is read (`geometry`); `is_moved` and `operations` lie on
    the host, so that images are chosen by them without waiting for the device.
    """

    flip: Tensor  # bool (n,)
    offset_yx: Tensor  # int64 (n, 2), in pixels of the padded image
    cutout_yx: Tensor  # int64 (n, 2), the centre in pixels
    sources: Tensor | None = None  # float32 (n, 2, 3)
    is_moved: NDArray[np.bool_] | None = None  # (n,): whether the matrix changes anything
    operations: NDArray[np.int64] | None = None  # (n, k), by number, in their order
    amounts: Tensor | None = None  # float32 (n, k), how strong they are
    jitter: Tensor | None = None  # float32 (n, 4): three factors and the turn of the hue
    erased: Tensor | None = None  # int64 (n, 2, 2): first y, x and those behind the last, in pixels

    @property
    def compute_pixels(self) -> bool:
        """Whether new pixels are computed, where the others copy them exactly."""
        return any(drawn is not None for drawn in (self.sources, self.operations, self.jitter))

    def rows(self, cut: slice | Tensor) -> "Draws":
        """Returns the draws of a slice of the images, or of those with these numbers."""
        kept: dict[str, Any] = {
            name: value if value is None else value[cut] for name, value in vars(self).items()
        }
        return Draws(**kept)


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
    found: dict[str, Any] = {"flip": flip, "offset_yx": offsets, "cutout_yx": centres}
    matrices = []
    if section.resized_crop is not None:
        drawn = words(seed, Purpose.RESIZED_CROP, samples, epoch)
        matrices.append(geometry.resized_crops(drawn, section.resized_crop))
    if section.rotation:
        drawn = words(seed, Purpose.ROTATION, samples, epoch)[:, 0]
        matrices.append(geometry.rotations(reals(drawn, -section.rotation, section.rotation)))
    if section.policy != "none":
        operations, amounts = draw_policy(section, side, seed=seed, epoch=epoch, samples=samples)
        found |= {"operations": operations, "amounts": amounts.astype(np.float32)}
        matrices.append(policy_matrices(operations, amounts, side))
    if matrices:
        sources = reduce(geometry.composed, matrices)
        is_moved = (sources != np.eye(2, 3)).any(axis=(1, 2))
        found |= {"sources": sources.astype(np.float32), "is_moved": is_moved}
    if largest := _largest_jitter(section):
        drawn = words(seed, Purpose.COLOR_JITTER, samples, epoch)
        found["jitter"] = (_NO_JITTER + reals(drawn, -1, 1) * largest).astype(np.float32)
    if section.erasing:
        found["erased"] = _drawn_rectangles(section.erasing, side, seed, epoch, samples)
    for name in found.keys() - _ON_THE_HOST:
        found[name] = torch.from_numpy(np.ascontiguousarray(found[name])).to(device, non_blocking=True)
    return Draws(**found)


def augment(images: Tensor, draws: Draws, section: AugmentSection, mean_color: Tensor) -> Tensor:
    """Returns the changed images, uint8 (n, side, side, 3), on the device of `images`.

    `mean_color`, uint8 (3,), fills the cutout square, the erased rectangle and what lies beyond the
    image: after the normalisation by `mean` and `std` of the images it is 0, as in padded convolutions.
    """
    if section.crop_padding:
        rows = torch.arange(len(images), device=images.device)
        images = crop(pad(images, section), rows, draws.offset_yx, images.shape[1])
    return augment_cropped(images, draws, section, mean_color)


def augment_cropped(images: Tensor, draws: Draws, section: AugmentSection, mean_color: Tensor) -> Tensor:
    """Returns what `augment` does, for images that have been padded and cropped already."""
    if section.flip != "none":
        images = _flip(images, draws.flip)
    if draws.sources is not None:
        images = _move(images, draws, mean_color)
    if draws.operations is not None and draws.amounts is not None:
        images = recolored(images, draws.operations, draws.amounts)
    if draws.jitter is not None:
        images = jitter(images, draws.jitter, section)
    if section.cutout:
        # DeVries & Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
        first = draws.cutout_yx - section.cutout // 2
        images = _fill(images, first, first + section.cutout, mean_color)
    if draws.erased is not None:
        images = _fill(images, draws.erased[:, 0], draws.erased[:, 1], mean_color)
    return images


def _largest_jitter(section: AugmentSection) -> tuple[float, ...]:
    largest = (section.brightness, section.contrast, section.saturation, section.hue)
    return largest if any(largest) else ()


def _drawn_rectangles(
    probability: float, side: int, seed: int, epoch: int, samples: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns rectangles inside images, empty where nothing is erased, as `Draws.erased` has them.

    Shares of the area are even from 2 to 33 %, logarithms of height / width between 3:10 and 10:3 as
    far as both sides fit (Zhong et al., "Random erasing data augmentation", 2020).
    """
    drawn = words(seed, Purpose.ERASING, samples, epoch)
    places = words(seed, Purpose.ERASING, samples + _NEXT_DRAW, epoch)[:, :2]
    area = reals(drawn[:, 1], *_ERASED_AREA)
    limit = np.minimum(np.log(_LARGEST_ERASED_RATIO), -np.log(area))
    ratio = np.exp(reals(drawn[:, 2], -limit, limit))
    sides = np.rint(np.sqrt(np.stack((area * ratio, area / ratio), axis=1)) * side).clip(1, side)
    sides *= (reals(drawn[:, 0], 0, 1) < probability)[:, None]
    first = np.floor(reals(places, 0.0, side - sides + 1))
    return np.stack((first, first + sides), axis=1).astype(np.int64)


def _move(images: Tensor, draws: Draws, mean_color: Tensor) -> Tensor:
    """Interpolates the images whose matrix is not that of standing still."""
    assert draws.sources is not None
    assert draws.is_moved is not None
    if draws.is_moved.all():
        return geometry.resample(images, draws.sources, mean_color)
    rows = torch.from_numpy(np.flatnonzero(draws.is_moved)).to(images.device, non_blocking=True)
    moved = geometry.resample(images.index_select(0, rows), draws.sources.index_select(0, rows), mean_color)
    return images.index_copy(0, rows, moved)


def pad(images: Tensor, section: AugmentSection) -> Tensor:
    """Returns uint8 (n, side + 2 p, side + 2 p, C), each image in the middle of what cropping may reach."""
    count, side, _, channels = images.shape
    p, end = section.crop_padding, section.crop_padding + side
    padded = images.new_zeros((count, side + 2 * p, side + 2 * p, channels))
    padded[:, p:end, p:end] = images
    if section.crop_fill == "reflect":
        padded[:, p:end, :p] = images[:, :, 1 : p + 1].flip(2)
        padded[:, p:end, end:] = images[:, :, side - 1 - p : side - 1].flip(2)
        padded[:, :p] = padded[:, p + 1 : 2 * p + 1].flip(1)
        padded[:, end:] = padded[:, end - 1 - p : end - 1].flip(1)
    return padded


def crop(padded: Tensor, rows: Tensor, offset_yx: Tensor, side: int) -> Tensor:
    """Returns a window (n, side, side, C) of the padded images of these rows, one each.

    The view of all windows costs no memory.
    """
    count, padded_side, _, channels = padded.shape
    offsets = padded_side - side + 1
    image_stride, row_stride, column_stride, _ = padded.stride()
    if padded.device.type == "cpu":  # whole rows as one value: torch would copy byte after byte
        view: NDArray[np.void] = np.ndarray(
            (count, offsets, offsets, side),
            f"V{side * channels}",
            padded.numpy(),
            strides=(image_stride, row_stride, column_stride, row_stride),
        )
        y, x = offset_yx.numpy().T
        windows_of_rows = view[rows.numpy(), y, x].view(np.uint8)
        return torch.from_numpy(windows_of_rows).view(len(rows), side, side, channels)
    windows = padded.as_strided(
        (count, offsets, offsets, side, side * channels),
        (image_stride, row_stride, column_stride, row_stride, 1),
    )
    return windows[rows, offset_yx[:, 0], offset_yx[:, 1]].view(len(rows), side, side, channels)


def _flip(images: Tensor, is_flipped: Tensor) -> Tensor:
    """Mirrors the images that are to be."""
    if images.device.type != "cpu":
        return torch.where(is_flipped[:, None, None, None], images.flip(2), images)
    size = images.shape[1:].numel()
    mirrored = torch.from_numpy(images.numpy()[is_flipped.numpy()]).flip(2)
    flipped = images.numpy().copy()
    # An image as one value, as in crop.
    flipped.reshape(-1, size).view(f"V{size}")[is_flipped.numpy()] = (
        mirrored.numpy().reshape(-1, size).view(f"V{size}")
    )
    return torch.from_numpy(flipped)


def _fill(images: Tensor, first_yx: Tensor, end_yx: Tensor, color: Tensor) -> Tensor:
    """Sets a rectangle of each image to one colour; it may reach beyond the image."""
    count, side, _, channels = images.shape
    position = torch.arange(side, device=images.device)
    inside = (position >= first_yx[..., None]) & (position < end_yx[..., None])  # (n, 2, side)
    columns = inside[:, 1].repeat_interleave(channels, dim=1)
    stays = (~(inside[:, 0, :, None] & columns[:, None, :])).to(torch.uint8)  # (n, side, side * channels)
    # Exact, since uint8 wraps around; torch.where on rows of three channels takes twice as long.
    colors = color.repeat(side)
    return ((images.reshape(count, side, side * channels) - colors) * stays + colors).view(images.shape)
