"""Changes of colour against torchvision's, on photographs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torch import Tensor

from made_photos import squares
from pictorch.datasets import colors
from pictorch.recipe import AugmentSection

PHOTOS = torch.from_numpy(squares(12, 32))
NCHW = PHOTOS.permute(0, 3, 1, 2).contiguous()
NOISE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), np.uint8))
Blend = Callable[[Tensor, Tensor], Tensor]
BLENDS: list[tuple[Blend, Callable[[Tensor, float], Tensor]]] = [
    (colors.brightness, tv.adjust_brightness),
    (colors.contrast, tv.adjust_contrast),
    (colors.saturation, tv.adjust_saturation),
    (colors.sharpness, tv.adjust_sharpness),
]


def blended(change: Blend, images: Tensor, strength: float) -> Tensor:
    return colors.as_images(change(colors.as_pixels(images), torch.full((len(images),), strength)))


def largest_difference(found: Tensor, nchw: Tensor) -> int:
    assert found.dtype == torch.uint8
    return int((found.int() - nchw.permute(0, 2, 3, 1).int()).abs().max())


@pytest.mark.parametrize(("change", "reference"), BLENDS)
@pytest.mark.parametrize("factor", [0.01, 0.4, 1.0, 1.3, 1.99])
def test_a_blend_is_within_two_levels_of_torchvision(
    change: Blend, reference: Callable[[Tensor, float], Tensor], factor: float
) -> None:
    """torchvision cuts fractions off, here they are rounded; its grey is cut off too."""
    found = blended(change, PHOTOS, factor)
    assert largest_difference(found, reference(NCHW, factor)) <= (2 if change is colors.saturation else 1)
    assert torch.equal(found, PHOTOS) == (factor == 1)


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.0, 0.04, 0.5])
def test_hue_is_within_one_level_of_torchvision(turn: float) -> None:
    for images in (PHOTOS, NOISE):
        found = blended(colors.hue, images, turn)
        assert largest_difference(found, tv.adjust_hue(images.permute(0, 3, 1, 2), turn)) <= 1
        assert torch.equal(found, images) == (turn == 0)


def test_grey_has_no_hue() -> None:
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
    assert torch.equal(blended(colors.hue, grey, 0.3), grey)


@pytest.mark.parametrize("side", [1, 2])
def test_too_small_to_sharpen(side: int) -> None:
    images = NOISE[:, :side, :side]
    assert torch.equal(blended(colors.sharpness, images, 0.1), images)


@pytest.mark.parametrize("bits", range(9))
def test_posterize_equals_torchvision(bits: int) -> None:
    found = colors.posterize(PHOTOS, torch.full((len(PHOTOS),), float(bits)))
    assert largest_difference(found, tv.posterize(NCHW, bits)) == 0


@pytest.mark.parametrize("threshold", [0.0, 100.3, 254.0, 255.0])
def test_solarize_equals_torchvision(threshold: float) -> None:
    found = colors.solarize(PHOTOS, torch.full((len(PHOTOS),), threshold))
    assert largest_difference(found, tv.solarize(NCHW, threshold)) == 0
    if threshold == 0:
        assert largest_difference(found, tv.invert(NCHW)) == 0


def test_autocontrast_and_equalize_equal_torchvision() -> None:
    flat = torch.full((2, 32, 32, 3), 77, dtype=torch.uint8)
    flat[1, :3, :, 1] = 78
    narrow = PHOTOS // 7 + 50
    for images in (PHOTOS, NOISE, flat, narrow, NOISE[:, :1, :1]):
        nchw = images.permute(0, 3, 1, 2)
        assert largest_difference(colors.autocontrast(images), tv.autocontrast(nchw)) == 0
        assert largest_difference(colors.equalize(images), tv.equalize(nchw)) == 0
    assert not torch.equal(colors.equalize(narrow), narrow)


def test_each_image_has_its_own_strength() -> None:
    strengths = torch.linspace(0.1, 1.9, len(PHOTOS))
    for change, _ in BLENDS:
        together = colors.as_images(change(colors.as_pixels(PHOTOS), strengths))
        for row, strength in enumerate(strengths.tolist()):
            assert torch.equal(together[row], blended(change, PHOTOS[row : row + 1], strength)[0])


def test_a_jitter_is_the_four_changes_of_torchvision_on_unrounded_pixels() -> None:
    section = AugmentSection(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    changes = torch.tensor([[1.3, 0.7, 1.2, 0.08], [0.8, 1.3, 0.7, -0.05]])
    found = colors.jitter(PHOTOS[:2], changes, section)
    for row, (brightness, contrast, saturation, hue) in enumerate(changes.tolist()):
        image = tv.adjust_contrast(tv.adjust_brightness(NCHW[row] / 255, brightness), contrast)
        image = tv.adjust_hue(tv.adjust_saturation(image, saturation), hue)
        difference = found[row].float() - image.permute(1, 2, 0) * 255
        assert difference.abs().max() < 1.5


def test_only_what_the_recipe_asks_for_is_changed() -> None:
    changes = torch.tensor([[1.3, 0.7, 1.2, 0.08]]).repeat(len(PHOTOS), 1)
    for place, (name, change) in enumerate(
        {"brightness": colors.brightness, "contrast": colors.contrast, "saturation": colors.saturation,
         "hue": colors.hue}.items()
    ):  # fmt: skip
        section = AugmentSection.model_validate({name: 0.4})
        expected = blended(change, PHOTOS, changes[0, place].item())
        assert torch.equal(colors.jitter(PHOTOS, changes, section), expected)
