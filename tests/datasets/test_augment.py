"""Augmentation of whole batches: exact copies against plain NumPy, draws, and images by themselves."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets import geometry
from pictorch.datasets.augment import Draws, augment, check_fits, draw
from pictorch.datasets.policies import draw_policy, policy_matrices
from pictorch.errors import RecipeError
from pictorch.randomness import Purpose, reals, words
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


def test_what_does_not_fit_the_images_is_refused_together() -> None:
    check_fits(AugmentSection(crop_padding=7, cutout=8), 8)
    check_fits(AugmentSection(), 1)
    with pytest.raises(RecipeError) as caught:
        check_fits(AugmentSection(crop_padding=8, cutout=9), 8)
    assert caught.value.problems == (
        "augment.crop_padding: 8 needs images larger than 8 pixels; try `--set augment.crop_padding=1`",
        "augment.cutout: 9 is more than the image's 8 pixels; try `--set augment.cutout=2`",
    )


EVERYTHING = AugmentSection(
    flip="random",
    crop_padding=3,
    resized_crop=0.4,
    rotation=25,
    policy="rand_augment",
    policy_operations=4,
    policy_magnitude=20,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    cutout=4,
    erasing=0.5,
)
fields_alone = st.one_of(
    st.builds(AugmentSection, resized_crop=st.floats(0.01, 1)),
    st.builds(AugmentSection, rotation=st.floats(0, 180)),
    st.builds(AugmentSection, brightness=st.floats(0, 1), contrast=st.floats(0, 1)),
    st.builds(AugmentSection, saturation=st.floats(0, 1), hue=st.floats(0, 0.5)),
    st.just(AugmentSection(policy="trivial_augment")),
    st.builds(AugmentSection, policy=st.just("rand_augment"), policy_magnitude=st.integers(0, 30)),
    st.builds(AugmentSection, erasing=st.floats(0, 1)),
    st.just(EVERYTHING),
)


@given(fields_alone, st.integers(4, 40), st.integers(0, 2**63 - 1), st.integers(1, 9))
@settings(deadline=None, max_examples=12)
def test_an_image_does_not_depend_on_the_others_of_its_batch(
    section: AugmentSection, side: int, seed: int, count: int
) -> None:
    images = made_images(count, side)
    draws = drawn(section, side, np.arange(count) * 1000, seed=seed, epoch=3)
    together = changed(images, draws, section)
    assert together.shape == images.shape
    np.testing.assert_array_equal(changed(images, draws, section), together)
    for row in range(count):
        alone = drawn(section, side, [row * 1000], seed=seed, epoch=3)
        np.testing.assert_array_equal(changed(images[row : row + 1], alone, section)[0], together[row])


def test_threads_change_no_pixel_of_large_images() -> None:
    images = made_images(2, 240)
    draws = drawn(EVERYTHING, 240, np.arange(2))
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found += [
                changed(images, draws, EVERYTHING),
                changed(images[:1], draws.rows(slice(0, 1)), EVERYTHING),
            ]
    finally:
        torch.set_num_threads(threads)
    for other in found:
        np.testing.assert_array_equal(other, found[0][: len(other)])


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_the_smallest_images_take_everything(side: int) -> None:
    section = EVERYTHING.model_copy(update={"crop_padding": 0, "cutout": 1})
    check_fits(section, side)
    found = changed(made_images(60, side), drawn(section, side, np.arange(60)), section)
    assert found.shape == (60, side, side, 3)


@pytest.mark.parametrize(
    "section",
    [
        AugmentSection(resized_crop=1.0),
        AugmentSection(policy="rand_augment", policy_magnitude=5, erasing=0.3, rotation=5),
        EVERYTHING,
    ],
)
def test_the_input_is_left_alone_by_every_change(section: AugmentSection) -> None:
    images = made_images(40, 16)
    before = images.copy()
    found = changed(images, drawn(section, 16, np.arange(40)), section)
    np.testing.assert_array_equal(images, before)
    assert np.array_equal(found, images) == (section.resized_crop == 1.0)


def test_geometry_of_crop_rotation_and_policy_is_one_matrix() -> None:
    section = AugmentSection(resized_crop=0.4, rotation=25, policy="rand_augment", policy_operations=3)
    draws, samples = drawn(section, 16, np.arange(50)), np.arange(50)
    words_of = {purpose: words(0, purpose, samples) for purpose in (Purpose.RESIZED_CROP, Purpose.ROTATION)}
    crops = geometry.resized_crops(words_of[Purpose.RESIZED_CROP], 0.4)
    turns = geometry.rotations(reals(words_of[Purpose.ROTATION][:, 0], -25, 25))
    operations, amounts = draw_policy(section, 16, seed=0, epoch=0, samples=samples)
    expected = geometry.composed(geometry.composed(crops, turns), policy_matrices(operations, amounts, 16))
    assert draws.sources is not None
    np.testing.assert_allclose(draws.sources.numpy(), expected, atol=1e-6)


def test_images_are_read_at_their_matrix_and_the_others_stay() -> None:
    section = AugmentSection(policy="trivial_augment")
    images, draws = made_images(80, 16), drawn(section, 16, np.arange(80))
    assert draws.sources is not None
    assert draws.is_moved is not None
    assert draws.operations is not None
    geometric = np.isin(draws.operations[:, 0], range(1, 6))
    assert draws.is_moved[geometric].mean() > 0.9
    assert not draws.is_moved[~geometric].any()
    moved = geometry.resample(torch.from_numpy(images), draws.sources, torch.from_numpy(MEAN_COLOR)).numpy()
    found = changed(images, draws, section)
    np.testing.assert_array_equal(found[geometric], moved[geometric])
    still = draws.operations[:, 0] == 0
    assert still.sum() > 1
    np.testing.assert_array_equal(found[still], images[still])


def test_angles_and_jitters_are_even() -> None:
    section = AugmentSection(rotation=30, brightness=0.2, contrast=0.4, saturation=1.0, hue=0.1)
    draws = drawn(section, 8, np.arange(20_000))
    assert draws.sources is not None
    assert draws.jitter is not None
    angles = np.degrees(np.arctan2(draws.sources[:, 1, 0].numpy(), draws.sources[:, 0, 0].numpy()))
    factors = draws.jitter.numpy().T
    for values, low, high in zip(
        (angles, *factors), (-30, 0.8, 0.6, 0, -0.1), (30, 1.2, 1.4, 2, 0.1), strict=True
    ):
        assert low <= values.min() < values.max() <= high
        assert np.abs(np.histogram(values, 20, (low, high))[0] - 1000).max() < 5 * 1000**0.5
    assert np.abs(np.corrcoef(np.stack((angles, *factors))) - np.eye(5)).max() < 5 / 20_000**0.5


def test_erased_rectangles() -> None:
    side, section = 64, AugmentSection(erasing=0.25)
    draws = drawn(section, side, np.arange(20_000))
    assert draws.erased is not None
    first, end = draws.erased.numpy().transpose(1, 0, 2)
    assert (first >= 0).all()
    assert (end <= side).all()
    size = (end - first)[(end > first).all(1)]
    assert abs(len(size) - 5000) < 5 * 3750**0.5
    area, ratio = size.prod(1) / side**2, size[:, 0] / size[:, 1]
    assert area.min() > 0.015
    assert area.max() < 0.34
    assert np.abs(np.histogram(area, 10, (0.02, 0.33))[0] - len(size) / 10).max() < 5 * 500**0.5
    assert 0.25 < ratio.min() < 0.35
    assert 2.9 < ratio.max() < 3.8
    assert abs(np.log(ratio).mean()) < 0.05
    shapes = np.stack((area, np.log(ratio), *first[(end > first).all(1)].T - (side - size.T) / 2))
    assert np.abs(np.corrcoef(shapes) - np.eye(4)).max() < 5 / len(size) ** 0.5
    for axis in range(2):
        room = side - size[:, axis]
        place = (first[(end > first).all(1), axis] / np.maximum(room, 1))[room > 0]
        assert abs(place.mean() - 0.5) < 5 * (1 / 12 / len(size)) ** 0.5

    images = made_images(6, side)
    rows = drawn(AugmentSection(erasing=1.0), side, np.arange(6))
    found = changed(images, rows, AugmentSection(erasing=1.0))
    assert rows.erased is not None
    for image, (start, stop) in zip(images, rows.erased.tolist(), strict=True):
        image[start[0] : stop[0], start[1] : stop[1]] = MEAN_COLOR
    np.testing.assert_array_equal(found, images)


def test_what_lies_beyond_the_image_has_the_mean_colour() -> None:
    section = AugmentSection(rotation=180)
    draws = Draws(
        torch.zeros(1, dtype=torch.bool),
        torch.zeros(1, 2, dtype=torch.int64),
        torch.zeros(1, 2, dtype=torch.int64),
        sources=torch.from_numpy(geometry.rotations(np.array([45.0]))).float(),
        is_moved=np.array([True]),
    )
    found = changed(made_images(1, 16), draws, section)
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        np.testing.assert_array_equal(found[0, y, x], MEAN_COLOR)


def test_one_field_does_not_change_the_draws_of_another() -> None:
    together = drawn(EVERYTHING, 16, np.arange(100))
    for name, field in {"jitter": "hue", "erased": "erasing", "operations": "policy"}.items():
        keys = {field, "policy_operations", "policy_magnitude"}
        alone = drawn(AugmentSection.model_validate(EVERYTHING.model_dump(include=keys)), 16, np.arange(100))
        mine, other = (np.asarray(getattr(draws, name)) for draws in (alone, together))
        np.testing.assert_array_equal(*((mine, other) if name != "jitter" else (mine[:, 3], other[:, 3])))


def test_seed_epoch_and_sample_decide_the_draws_of_every_field() -> None:
    def parts(seed: int, epoch: int, samples: Any) -> list[NDArray[Any]]:
        found = vars(drawn(EVERYTHING, 32, samples, seed=seed, epoch=epoch))
        return [np.asarray(value) for value in found.values()]

    once = parts(5, 9, [7, 3, 12_345])
    for part, alone in zip(once, parts(5, 9, [12_345]), strict=True):
        np.testing.assert_array_equal(part[2:], alone)
    samples = np.arange(40)
    for other in (parts(6, 9, samples), parts(5, 10, samples), parts(5, 9, samples + 1000)):
        for name, before, after in zip(
            vars(drawn(EVERYTHING, 32, [0])), parts(5, 9, samples), other, strict=True
        ):
            assert name == "is_moved" or not np.array_equal(before, after), name


def test_rows_of_every_draw() -> None:
    draws = drawn(EVERYTHING, 16, np.arange(10))
    for name, value in vars(draws.rows(slice(1, 8, 3))).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(getattr(draws, name))[[1, 4, 7]])
