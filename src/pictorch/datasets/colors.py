"""Changes of colour: of float pixels (n, 3, H, W) from 0 to 255, and of uint8 images (n, H, W, 3).

Each image has its own strength, a tensor (n,). Whatever looks at a whole image counts in integers, so
that a result depends neither on the other images of the batch nor on the number of threads.
"""

import torch
from torch import Tensor

from pictorch.recipe import AugmentSection


def jitter(images: Tensor, changes: Tensor, section: AugmentSection) -> Tensor:
    """Returns uint8 images with changed brightness, contrast, saturation and hue, rounded once.

    `changes`, float32 (n, 4), holds three factors and a share of the circle of hues, in this order.
    """
    pixels = as_pixels(images)
    if section.brightness:
        pixels = brightness(pixels, changes[:, 0])
    if section.contrast:
        pixels = contrast(pixels, changes[:, 1])
    if section.saturation:
        pixels = saturation(pixels, changes[:, 2])
    if section.hue:
        pixels = hue(pixels, changes[:, 3])
    return as_images(pixels)


def as_pixels(images: Tensor) -> Tensor:
    """Returns uint8 images (n, H, W, 3) as float32 (n, 3, H, W), from 0 to 255."""
    return images.permute(0, 3, 1, 2).contiguous().to(torch.float32)


def as_images(pixels: Tensor) -> Tensor:
    """Returns float pixels (n, 3, H, W) as uint8 images (n, H, W, 3)."""
    return torch.stack(pixels.round().unbind(1), dim=-1).to(torch.uint8)


def brightness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Returns pixels times their factor; 0 is black."""
    return (pixels * _each(factors)).clamp_(0, 255)


def contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    """Returns pixels whose distance from the image's mean grey is multiplied; 0 is that grey."""
    levels = _gray(pixels).floor_().to(torch.int32)  # a sum of integers is the same in any order
    total = levels.sum(dim=(1, 2, 3), dtype=torch.int64)
    mean = total.to(pixels.dtype) / (pixels.shape[2] * pixels.shape[3])
    return _blend(_each(mean), pixels, factors)


def saturation(pixels: Tensor, factors: Tensor) -> Tensor:
    """Returns pixels whose distance from their own grey is multiplied; 0 is the grey image."""
    return _blend(_gray(pixels), pixels, factors)


def sharpness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Returns pixels whose distance from a 3x3 smoothing is multiplied; the outermost ones stay."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    middle = pixels[:, :, 1:-1, 1:-1]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * middle) / 13
    changed = pixels.clone()
    changed[:, :, 1:-1, 1:-1] = _blend(smooth, middle, factors)
    return changed


def hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Returns pixels whose hue in HSV is turned by a share of the circle; grey ones stay.

    Each channel is the largest value up to a sixth of the circle from its own hue, the smallest from
    a third on, and in a line between (HSV to RGB in closed form).
    """
    red, green, blue = pixels.unbind(1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    smallest = torch.minimum(torch.minimum(red, green), blue)
    span = largest - smallest
    unit = span.clamp(min=1e-6)
    angle = torch.where(
        largest == red,
        (green - blue) / unit,
        torch.where(largest == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    circle = angle / 6 + turns[:, None, None]
    channels = []
    for own in (0, 1 / 3, 2 / 3):
        distance = circle - own
        distance -= distance.round()
        channels.append(smallest + span * (2 - 6 * distance.abs_()).clamp_(0, 1))
    return torch.stack(channels, 1)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Returns uint8 images of which only the highest `bits` of each value are kept."""
    masks = 256 - torch.bitwise_left_shift(1, 8 - bits.to(torch.int32))
    return images & _each(masks.to(torch.uint8))


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Returns uint8 images whose values from the threshold (0 to 255) on are inverted."""
    return torch.where(images >= _each(thresholds), 255 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Returns uint8 images whose every channel is stretched to 0 to 255; one with a single value stays."""
    values = images.to(torch.float32)
    lowest, highest = (values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True))
    stretched = (values - lowest) / ((highest - lowest) * (1 / 255))
    return torch.where(highest > lowest, stretched.clamp_(0, 255), values).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Returns uint8 images with an even histogram in every channel, by the integer rule of Pillow."""
    values = images.permute(0, 3, 1, 2).flatten(2).to(torch.int64)  # (n, 3, H * W)
    histogram = values.new_zeros((*values.shape[:2], 256))
    histogram.scatter_add_(2, values, torch.ones_like(values))
    below = histogram.cumsum(2) - histogram
    most = values.amax(2, keepdim=True)
    step = below.gather(2, most) // 255  # pixels under the largest value, for each level
    table = torch.where(
        step > 0, (below + step // 2) // step.clamp(min=1), torch.arange(256, device=step.device)
    )
    even = table.clamp_(0, 255).gather(2, values).to(torch.uint8)
    return even.view(even.shape[:2] + images.shape[1:3]).permute(0, 2, 3, 1)


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


def _gray(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, (n, 1, H, W)."""
    red, green, blue = pixels[:, :1], pixels[:, 1:2], pixels[:, 2:]
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blend(start: Tensor, pixels: Tensor, factors: Tensor) -> Tensor:
    return (start + (pixels - start) * _each(factors)).clamp_(0, 255)
