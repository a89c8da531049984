"""Flip, crop and cutout of whole batches against one image at a time in plain NumPy."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets.augment import Draws, augment, check_fits, draw
from pictorch.errors import RecipeError
from pictorch.recipe import AugmentSection

Image = NDArray[np.uint8]

CPU = torch.device("cpu")
MEAN_COLOR = np.array([120, 121, 122], np.uint8)
STANDARD = AugmentSection(flip="random", crop_padding=4)
WITH_CUTOUT = AugmentSection(flip="random", crop_padding=4, cutout=8)


def made_images(count: int, side: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def drawn(section: AugmentSection, side: int, samples: Any, *, seed: int = 0, epoch: int = 0) -> Draws:
    return draw(section, side, seed=seed, epoch=epoch, samples=np.asarray(samples), device=CPU)


def changed(images: Image, draws: Draws, section: AugmentSection) -> Image:
    made: Tensor = augment(torch.from_numpy(images), draws, section, torch.from_numpy(MEAN_COLOR))
    assert made.dtype == torch.uint8
    return made.numpy()


def reference(image: Image, draws: Draws, row: int, section: AugmentSection) -> Image:
    """Returns what a batch must hold for one image, with NumPy's own padding, slicing and mirror."""
    side, padding = len(image), section.crop_padding
    mode = {"reflect": "reflect", "zero": "constant"}[section.crop_fill]
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)  # type: ignore[call-overload]
    y, x = draws.offset_yx[row].tolist()
    image = padded[y : y + side, x : x + side]
    if section.flip != "none" and draws.flip[row]:
        image = image[:, ::-1]
    image = image.copy()
    if section.cutout:
        y, x = (int(centre) - section.cutout // 2 for centre in draws.cutout_yx[row])
        image[max(y, 0) : max(y + section.cutout, 0), max(x, 0) : max(x + section.cutout, 0)] = MEAN_COLOR
    return image


sections = st.integers(1, 12).flatmap(
    lambda side: st.tuples(
        st.just(side),
        st.builds(
            AugmentSection,
            flip=st.sampled_from(["none", "random", "alternating"]),
            crop_padding=st.integers(0, side - 1),
            crop_fill=st.sampled_from(["reflect", "zero"]),
            cutout=st.integers(0, side),
        ),
    )
)


@given(sections, st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(1, 6))
@settings(deadline=None)
def test_each_image_equals_its_reference(
    sided: tuple[int, AugmentSection], seed: int, epoch: int, count: int
) -> None:
    side, section = sided
    check_fits(section, side)
    images = made_images(count, side)
    draws = drawn(section, side, np.arange(count) * 1000, seed=seed, epoch=epoch)
    found = changed(images, draws, section)
    for row in range(count):
        np.testing.assert_array_equal(found[row], reference(images[row], draws, row, section))


@pytest.mark.parametrize(("section", "fewest"), [(STANDARD, 110), (WITH_CUTOUT, 200)])
def test_copies_of_one_image_become_many(section: AugmentSection, fewest: int) -> None:
    """Of 2 * 9 * 9 = 162 flips and crops, 256 draws meet 129 on average."""
    image = made_images(1, 32)
    draws = drawn(section, 32, np.arange(256))
    found = changed(np.repeat(image, 256, axis=0), draws, section)
    assert len({each.tobytes() for each in found}) >= fewest
    for row in range(256):
        np.testing.assert_array_equal(found[row], reference(image[0], draws, row, section))


def test_nothing_asked_changes_nothing() -> None:
    images = made_images(5, 9)
    section = AugmentSection()
    np.testing.assert_array_equal(changed(images, drawn(section, 9, np.arange(5)), section), images)


def test_the_input_is_left_alone() -> None:
    images = made_images(8, 32)
    before = images.copy()
    changed(images, drawn(WITH_CUTOUT, 32, np.arange(8)), WITH_CUTOUT)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("fill", ["reflect", "zero"])
def test_what_the_padding_holds(fill: Any) -> None:
    """The corner of a crop from the upper left: mirrored about the edge, or black."""
    section = AugmentSection(crop_padding=2, crop_fill=fill)
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(3, axis=3) + 1
    draws = Draws(torch.tensor([False]), torch.tensor([[0, 0]]), torch.zeros(1, 2, dtype=torch.int64))
    found = changed(image, draws, section)[0, :, :, 0]
    expected = {
        "reflect": [[11, 10, 9, 10], [7, 6, 5, 6], [3, 2, 1, 2], [7, 6, 5, 6]],
        "zero": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 5, 6]],
    }[fill]
    assert found.tolist() == expected


def test_offsets_and_flips_are_uniform() -> None:
    draws = drawn(STANDARD, 32, np.arange(20_000))
    for axis in range(2):
        counts = np.bincount(draws.offset_yx[:, axis].numpy(), minlength=9)
        assert len(counts) == 9
        assert np.abs(counts - 20_000 / 9).max() < 5 * (20_000 / 9) ** 0.5
    assert abs(int(draws.flip.sum()) - 10_000) < 5 * 5000**0.5


def test_centres_of_cutouts_are_everywhere() -> None:
    """Squares are cut off at the edge, as in the paper, so corners are covered less often."""
    draws = drawn(WITH_CUTOUT, 32, np.arange(20_000))
    for axis in range(2):
        counts = np.bincount(draws.cutout_yx[:, axis].numpy(), minlength=32)
        assert len(counts) == 32
        assert np.abs(counts - 625).max() < 5 * 625**0.5


def test_a_draw_is_a_function_of_seed_epoch_and_sample() -> None:
    def rows(draws: Draws) -> list[tuple[Any, ...]]:
        table = torch.column_stack([draws.flip, draws.offset_yx, draws.cutout_yx])
        return [tuple(row) for row in table.tolist()]

    samples = np.array([7, 3, 12_345, 3])
    once = rows(drawn(WITH_CUTOUT, 32, samples, seed=5, epoch=9))
    assert once[1] == once[3]
    assert rows(drawn(WITH_CUTOUT, 32, samples[::-1], seed=5, epoch=9)) == once[::-1]
    assert rows(drawn(WITH_CUTOUT, 32, [12_345], seed=5, epoch=9)) == [once[2]]


def test_seed_and_epoch_change_each_draw() -> None:
    def parts(seed: int, epoch: int) -> list[Tensor]:
        draws = drawn(WITH_CUTOUT, 32, np.arange(50), seed=seed, epoch=epoch)
        return [draws.flip, draws.offset_yx, draws.cutout_yx]

    for other in (parts(6, 9), parts(5, 10)):
        for before, after in zip(parts(5, 9), other, strict=True):
            assert not torch.equal(before, after)


def test_one_augmentation_does_not_change_the_draws_of_another() -> None:
    alone = drawn(STANDARD, 32, np.arange(100))
    together = drawn(WITH_CUTOUT, 32, np.arange(100))
    assert torch.equal(alone.flip, together.flip)
    assert torch.equal(alone.offset_yx, together.offset_yx)


def test_an_alternating_flip_alternates() -> None:
    section = AugmentSection(flip="alternating", crop_padding=1)
    epochs = [drawn(section, 8, np.arange(10_000), epoch=epoch) for epoch in range(4)]
    assert abs(int(epochs[0].flip.sum()) - 5000) < 5 * 2500**0.5
    for before, after in itertools.pairwise(epochs):
        assert torch.equal(before.flip, ~after.flip)
        assert not torch.equal(before.offset_yx, after.offset_yx)
    other_seed = drawn(section, 8, np.arange(10_000), seed=1)
    assert 0.4 < (other_seed.flip == epochs[0].flip).double().mean() < 0.6


def test_a_random_flip_does_not_alternate() -> None:
    section = AugmentSection(flip="random")
    first, second = (drawn(section, 8, np.arange(10_000), epoch=epoch) for epoch in range(2))
    assert 0.45 < (first.flip == second.flip).double().mean() < 0.55


def test_rows_of_draws() -> None:
    draws = drawn(WITH_CUTOUT, 32, np.arange(10))
    cut = draws.rows(1, 8, 3)
    for name in ("flip", "offset_yx", "cutout_yx"):
        assert torch.equal(getattr(cut, name), getattr(draws, name)[[1, 4, 7]])


def test_what_does_not_fit_the_images_is_refused_together() -> None:
    check_fits(AugmentSection(crop_padding=7, cutout=8), 8)
    check_fits(AugmentSection(), 1)
    with pytest.raises(RecipeError) as caught:
        check_fits(AugmentSection(crop_padding=8, cutout=9), 8)
    assert caught.value.problems == (
        "augment.crop_padding: 8 needs images larger than 8 pixels; try `--set augment.crop_padding=1`",
        "augment.cutout: 9 is more than the image's 8 pixels; try `--set augment.cutout=2`",
    )
