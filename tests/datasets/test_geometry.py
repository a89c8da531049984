"""Affine resampling against torchvision's, and what the drawn crops are like."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode

from made_photos import squares
from pictorch.datasets import geometry
from pictorch.randomness import Purpose, words

FILL = torch.tensor([120, 121, 122], dtype=torch.uint8)
SIDE = 32
PHOTOS = torch.from_numpy(squares(9, SIDE))
KEPT = np.eye(2, 3)


def resampled(images: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Returns the images under one matrix for all."""
    sources = torch.from_numpy(np.broadcast_to(matrix, (len(images), 2, 3)).astype(np.float32))
    return geometry.resample(images, sources, FILL)


def of_torchvision(
    *,
    angle: float = 0,
    move: tuple[int, int] = (0, 0),
    slope: tuple[float, float] = (0, 0),
    center: list[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the images under v2.functional.affine, and the places that lie wholly inside."""
    shear = [math.degrees(math.atan(value)) for value in slope]

    def affine(images: Tensor, fill: list[float]) -> Tensor:
        return tv.affine(
            images, angle, list(move), 1.0, shear, InterpolationMode.BILINEAR, fill, center
        ).permute(0, 2, 3, 1)

    images = affine(PHOTOS.permute(0, 3, 1, 2), FILL.tolist())
    coverage = affine(torch.ones(len(PHOTOS), 3, SIDE, SIDE), [0.0])
    return images, coverage > 0.9999


ROTATIONS = [(geometry.rotations(np.array([angle]))[0], {"angle": -angle}) for angle in (10.0, -45, 90, 135)]
SHEARS = [
    (geometry.shears(np.array([slope]), axis)[0], {"slope": (slope, 0)[:: 1 - 2 * axis], "center": [0, 0]})
    for slope in (0.3, -0.99)
    for axis in (0, 1)
]
TRANSLATIONS = [
    (geometry.translations(np.array([pixels]), axis, SIDE)[0], {"move": (int(pixels), 0)[:: 1 - 2 * axis]})
    for pixels in (5.0, -31, 32)
    for axis in (0, 1)
]


@pytest.mark.parametrize(("matrix", "parameters"), ROTATIONS + SHEARS + TRANSLATIONS)
def test_a_change_equals_torchvision_affine(matrix: NDArray[np.float64], parameters: dict) -> None:
    """Within the image; at its edge torchvision fades into the fill, and here a pixel ends at its edge."""
    found = resampled(PHOTOS, matrix)
    expected, is_inside = of_torchvision(**parameters)
    difference = (found.int() - expected.int()).abs()
    assert difference[is_inside].max() <= 1 if is_inside.any() else True
    is_outside = ~torch.nn.functional.max_pool2d(is_inside.permute(0, 3, 1, 2).float(), 5, 1, 2).bool()
    assert (found[is_outside.permute(0, 2, 3, 1)] == FILL.repeat(is_outside.sum() // 3)).all()
    at_the_edge = ((difference > 1) & ~is_inside).any(-1)
    assert at_the_edge.double().mean() < 4 / SIDE


@given(st.floats(-180, 180), st.floats(-1, 1), st.integers(-SIDE, SIDE))
@settings(deadline=None, max_examples=20)
def test_composed_changes_are_one_after_the_other(degrees: float, slope: float, pixels: int) -> None:
    """On points: where the second one reads, the first one is asked."""
    first = geometry.composed(
        geometry.rotations(np.array([degrees])), geometry.shears(np.array([slope]), axis=1)
    )
    second = geometry.translations(np.array([float(pixels)]), 0, SIDE)
    points = np.random.default_rng(0).uniform(-1, 1, (2, 50))

    def read(matrices: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
        return matrices[0, :, :2] @ places + matrices[0, :, 2:]

    expected = read(first, read(second, points))
    np.testing.assert_allclose(read(geometry.composed(first, second), points), expected, atol=1e-12)


def test_a_rotation_back_and_forth_blurs_nothing() -> None:
    turns = [geometry.rotations(np.array([degrees])) for degrees in (37.0, -37.0)]
    assert torch.equal(resampled(PHOTOS, geometry.composed(*turns)[0]), PHOTOS)


@given(st.integers(1, 40), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_the_unchanged_matrix_changes_nothing(side: int, count: int) -> None:
    images = torch.from_numpy(np.random.default_rng(side).integers(0, 256, (count, side, side, 3), np.uint8))
    found = geometry.resample(images, torch.from_numpy(geometry.unchanged(count)).float(), FILL)
    assert found.dtype == torch.uint8
    assert torch.equal(found, images)


@pytest.mark.parametrize("degrees", [90.0, 180.0])
def test_quarter_turns_are_exact(degrees: float) -> None:
    found = resampled(PHOTOS, geometry.rotations(np.array([degrees]))[0])
    assert torch.equal(found, PHOTOS.rot90(round(degrees / 90), (1, 2)))


@pytest.mark.parametrize(("top", "left", "height", "width"), [(0, 0, 16, 16), (5, 9, 20, 15), (8, 0, 24, 32)])
def test_a_resized_crop_equals_torchvision(top: int, left: int, height: int, width: int) -> None:
    """But for its outermost places, which torchvision reads as if the image ended at the crop."""
    matrix = np.array(
        [[width / SIDE, 0, (2 * left + width) / SIDE - 1], [0, height / SIDE, (2 * top + height) / SIDE - 1]]
    )
    found = resampled(PHOTOS, matrix)
    nchw = PHOTOS.permute(0, 3, 1, 2)
    expected = tv.resized_crop(nchw, top, left, height, width, [SIDE, SIDE], InterpolationMode.BILINEAR)
    difference = (found.int() - expected.permute(0, 2, 3, 1).int()).abs()
    assert difference[:, 2:-2, 2:-2].max() <= 1
    assert (found[:, 0] != FILL).any()


def test_crops_lie_inside_and_shares_of_area_are_even() -> None:
    crops = geometry.resized_crops(words(0, Purpose.RESIZED_CROP, np.arange(20_000)), 0.25)
    width, height = crops[:, 0, 0], crops[:, 1, 1]
    assert (crops[:, [0, 1], [1, 0]] == 0).all()
    for axis, size in enumerate((width, height)):
        assert (np.abs(crops[:, axis, 2]) + size <= 1 + 1e-12).all()
    assert np.abs(np.log(width / height)).max() <= np.log(4 / 3) + 1e-12
    assert np.abs(np.histogram(width * height, 30, (0.25, 1))[0] - 20_000 / 30).max() < 5 * (2000 / 3) ** 0.5
    small = width * height < 9 / 16  # where every ratio fits
    ratios = np.histogram(np.log(width / height)[small], 10)[0]
    assert np.abs(ratios - small.sum() / 10).max() < 5 * (small.sum() / 10) ** 0.5
    room = crops[:, :, 2] / (1 - np.stack((width, height), 1))
    for axis in range(2):
        assert np.abs(np.histogram(room[:, axis], 10, (-1, 1))[0] - 2000).max() < 5 * 2000**0.5


def test_the_whole_image_is_a_crop_too() -> None:
    crops = geometry.resized_crops(words(0, Purpose.RESIZED_CROP, np.arange(50)), 1.0)
    np.testing.assert_allclose(crops, np.broadcast_to(KEPT, crops.shape), atol=1e-9)


def test_pixels_along_the_edge_of_a_crop_are_not_filled() -> None:
    """The first places of an enlarged crop lie between the edge and the middle of the first pixel."""
    white = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    assert (resampled(white, np.array([[0.5, 0, -0.5], [0, 0.5, 0.5]])) == 255).all()
