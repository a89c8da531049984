"""Batches as a function of seed, epoch, step, rank and world, and what is counted from the images."""

import functools
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets import ImageSet
from pictorch.datasets import batches as batches_module
from pictorch.datasets.augment import augment, draw
from pictorch.datasets.batches import TrainingBatches, channel_statistics, evaluation_batches
from pictorch.datasets.mapped import map_array
from pictorch.datasets.mixing import draw_mix, mixed
from pictorch.datasets.order import block_order
from pictorch.errors import RecipeError
from pictorch.recipe import AugmentSection

CPU = torch.device("cpu")
MEAN_COLOR = np.array([9, 8, 7], np.uint8)
PLAIN = AugmentSection()
MIXED = AugmentSection(flip="random", policy="trivial_augment", erasing=0.5, mixup=0.4, cutmix=1.0)
BUSY = AugmentSection(
    resized_crop=0.3,
    rotation=9,
    contrast=0.3,
    hue=0.1,
    policy="rand_augment",
    policy_operations=5,
    erasing=0.5,
)
FULL = AugmentSection(flip="alternating", crop_padding=2, cutout=3)


def image_set(count: int = 23, side: int = 6, held_out: int = 4) -> ImageSet:
    """Returns `count` images of a larger store, whose first pixel tells its row and so does its label."""
    images = np.random.default_rng(0).integers(0, 256, (count + held_out, side, side, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count + held_out)
    rows = np.random.default_rng(1).permutation(count + held_out)[:count]
    return ImageSet(images, 1000 + np.arange(count + held_out), rows)


def batches(
    chosen: ImageSet,
    section: AugmentSection = PLAIN,
    *,
    seed: int = 0,
    batch_size: int = 8,
    order: str = "random",
) -> TrainingBatches:
    return TrainingBatches(
        chosen,
        section,
        seed=seed,
        batch_size=batch_size,
        num_classes=1000 + len(chosen.labels),
        mean_color=MEAN_COLOR,
        device=CPU,
        order=order,
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_how_many_steps_are_cut_together_changes_nothing(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    chosen = image_set(60)
    whole_epochs = batches(chosen, FULL)
    monkeypatch.setattr(batches_module, "_CUT_BYTES", steps * 8 * 6 * 6 * 3)
    made = batches(chosen, FULL)
    for place in ((0, 5), (0, 0), (0, 1), (1, 6), (1, 2), (0, 3), (0, 4)):
        assert equal(made.batch(*place), whole_epochs.batch(*place))


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("section", [FULL, BUSY.model_copy(update={"crop_padding": 2})])
def test_a_process_augments_its_own_images_only(
    monkeypatch: pytest.MonkeyPatch, section: AugmentSection, world: int
) -> None:
    real, augmented = batches_module.augment_cropped, []
    monkeypatch.setattr(
        batches_module,
        "augment_cropped",
        lambda images, *others: augmented.append(len(images)) or real(images, *others),
    )
    made = batches(image_set(60), section)
    own = [len(made.batch(0, step, world - 1, world)[0]) for step in range(7)]
    assert own == [8 // world] * 7
    assert sum(augmented) == sum(own)


@pytest.mark.parametrize(
    ("changed", "fill"),
    [(FULL, "reflect"), (FULL, "zero"), (BUSY.model_copy(update={"crop_padding": 2}), "zero")],
)
def test_a_store_that_is_kept_padded_gives_the_same_batches(
    monkeypatch: pytest.MonkeyPatch, changed: AugmentSection, fill: str
) -> None:
    section = changed.model_copy(update={"crop_fill": fill})
    chosen = image_set()
    kept = batches(chosen, section)
    monkeypatch.setattr(batches_module, "_PADDED_AT_ONCE", 5)
    cut = [kept.batch(epoch, step, rank, 2) for epoch in range(3) for step in range(2) for rank in range(2)]
    monkeypatch.setattr(batches_module, "_PADDED_BYTES", 27 * 10 * 10 * 3 - 1)
    padded_each_time = batches(chosen, section)
    for epoch in range(3):
        for step in range(2):
            for rank in range(2):
                images, labels = padded_each_time.batch(epoch, step, rank, 2)
                assert torch.equal(images, cut[0][0])
                assert torch.equal(labels, cut.pop(0)[1])
    assert kept._padded is not None
    assert padded_each_time._padded is None


def mapped_set(folder: Path, count: int = 60, side: int = 160) -> ImageSet:
    """Returns a set of images in a map, large enough to be read ahead; 28 of them are a block."""
    random = np.random.default_rng(0)
    images = np.empty((count + 5, side, side, 3), np.uint8)
    images[:] = random.integers(0, 256, (count + 5, 1, 1, 3), np.uint8)
    np.save(folder / "images.npy", images)
    rows = np.sort(random.permutation(count + 5)[:count])
    return ImageSet(map_array(folder / "images.npy"), 1000 + np.arange(count + 5), rows)


def prefetching_threads() -> int:
    return sum(thread.name.startswith("pictorch-prefetch") for thread in threading.enumerate())


def epoch_labels(made: TrainingBatches, epoch: int) -> list[int]:
    return [label for step in range(made.steps_per_epoch) for label in made.batch(epoch, step)[1].tolist()]


def pictures(made: TrainingBatches, epoch: int) -> dict[int, bytes]:
    """Returns the picture that each label has in an epoch."""
    found: dict[int, bytes] = {}
    for step in range(made.steps_per_epoch):
        images, labels = made.batch(epoch, step)
        found |= {int(label): image.numpy().tobytes() for image, label in zip(images, labels, strict=True)}
    return found


def equal(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_a_batch_holds_images_with_their_labels() -> None:
    chosen = image_set()
    images, labels = batches(chosen).batch(0, 0)
    assert (images.shape, images.dtype) == ((8, 6, 6, 3), torch.uint8)
    assert (labels.shape, labels.dtype) == ((8,), torch.int64)
    for image, label in zip(images, labels, strict=True):
        assert int(label) - 1000 == int(image[0, 0, 0])
        np.testing.assert_array_equal(image.numpy(), chosen.images[int(label) - 1000])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_an_epoch_takes_no_image_twice_and_none_of_another_split(
    count: int, batch_size: int, epoch: int, seed: int
) -> None:
    chosen = image_set(count)
    made = batches(chosen, seed=seed, batch_size=batch_size)
    assert made.batch_size == min(batch_size, count)
    assert made.steps_per_epoch == count // made.batch_size
    labels = epoch_labels(made, epoch)
    assert len(labels) == len(set(labels)) == made.steps_per_epoch * made.batch_size
    assert set(labels) <= set((1000 + chosen.indices).tolist())


def test_what_is_left_out_differs_between_epochs() -> None:
    made = batches(image_set(23), batch_size=8)
    seen = [frozenset(epoch_labels(made, epoch)) for epoch in range(6)]
    assert len(set(seen)) > 1
    assert len(frozenset.union(*seen)) == 23


def test_seed_and_epoch_change_order_and_pictures() -> None:
    chosen = image_set(count=24)
    orders = [epoch_labels(batches(chosen, seed=seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({tuple(order) for order in orders}) == 4

    first = pictures(batches(chosen, FULL), 0)
    for other in (pictures(batches(chosen, FULL, seed=1), 0), pictures(batches(chosen, FULL), 1)):
        assert sum(first[label] != other[label] for label in first) > 20


def test_batches_may_be_asked_for_in_any_order_and_anywhere() -> None:
    chosen = image_set()
    one, other = batches(chosen, FULL, seed=3), batches(chosen, FULL, seed=3)
    asked = [(epoch, step) for epoch in range(3) for step in range(one.steps_per_epoch)]
    in_order = {place: one.batch(*place) for place in asked}
    for place in sorted(asked, key=lambda place: (place[0] * 7 + place[1] * 3) % 5):
        assert equal(other.batch(*place), in_order[place])
        assert equal(batches(chosen, FULL, seed=3).batch(*place), in_order[place])


@pytest.mark.slow
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2), st.sampled_from([FULL, BUSY]))
@settings(deadline=None)
def test_the_ranks_together_have_the_batch_of_one_process(
    batch_size: int, world: int, step: int, section: AugmentSection
) -> None:
    chosen = image_set(60)
    images, labels = batches(chosen, section, batch_size=batch_size).batch(1, step)
    for rank in range(world):
        part = batches(chosen, section, batch_size=batch_size).batch(1, step, rank, world)
        assert equal(part, (images[rank::world], labels[rank::world]))


@pytest.mark.parametrize(
    ("section", "world"),
    [(FULL, 1), (FULL, 2), (FULL, 4), pytest.param(MIXED, 4, marks=pytest.mark.slow)],
)
def test_ranks_that_prefetch_in_block_order_have_the_batch_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: AugmentSection, world: int
) -> None:
    chosen = mapped_set(tmp_path)
    sizes = {"block_bytes": 3 * chosen.images[0].nbytes, "window_bytes": 12 * chosen.images[0].nbytes}
    monkeypatch.setattr(batches_module, "block_order", functools.partial(block_order, **sizes))
    whole = batches(chosen, section, batch_size=8, order="blocks")
    ranks = [batches(chosen, section, batch_size=8, order="blocks") for _ in range(world)]
    with ExitStack() as stack:
        for one in ranks:
            stack.enter_context(one.prefetched())
        for epoch in (0, 1):
            for step in range(whole.steps_per_epoch):
                images, labels = whole.batch(epoch, step)
                for rank, one in enumerate(ranks):
                    found = one.batch(epoch, step, rank, world)
                    assert equal(found, (images[rank::world], labels[rank::world]))
        assert prefetching_threads() == world
    assert prefetching_threads() == 0


def test_block_order_takes_every_image_once_and_another_order_than_random(tmp_path: Path) -> None:
    chosen = mapped_set(tmp_path)
    orders = []
    for order in ("random", "blocks"):
        made = batches(chosen, batch_size=10, order=order)
        orders += [epoch_labels(made, epoch) for epoch in (0, 1)]
    assert all(sorted(order) == (1000 + chosen.indices).tolist() for order in orders)
    # All blocks fit into one window, so images are shuffled as at random.
    assert orders[2:] == orders[:2]
    large = ImageSet(np.zeros((5000, 200, 200, 3), np.uint8), np.arange(5000), np.arange(5000))
    assert not torch.equal(batches(large, order="blocks").batch(0, 0)[1], batches(large).batch(0, 0)[1])


@pytest.mark.parametrize("side", [16, 160])
def test_blocks_are_asked_for_a_window_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Small rows from the start, large ones, which can be read one by one, as fast again as they are used."""
    chosen = mapped_set(tmp_path, side=side)
    sizes = {"block_bytes": 3 * chosen.images[0].nbytes, "window_bytes": 12 * chosen.images[0].nbytes}
    small = functools.partial(block_order, **sizes)
    monkeypatch.setattr(batches_module, "block_order", small)
    reading = small(chosen.indices, chosen.images[0].nbytes, seed=0, epoch=0).reading
    assert reading is not None
    asked: list[int] = []

    def note(images: Any, rows: NDArray[np.int64], *, least_bytes: int = 1) -> None:
        asked.extend([] if least_bytes else rows.tolist())

    monkeypatch.setattr(batches_module, "read_ahead", note)
    made = batches(chosen, batch_size=4, order="blocks")
    for step in range(made.steps_per_epoch):
        made.batch(0, step)
        end = 4 * step + 12
        assert asked == reading[: end if side == 16 else min(end, 8 * (step + 1))].tolist()

    asked.clear()  # a run that goes on in mid-epoch
    resumed = batches(chosen, batch_size=4, order="blocks")
    resumed.batch(0, 5)
    assert asked == (reading[8:32] if side == 16 else reading[20:28]).tolist()


def test_what_is_prefetched_is_what_is_asked_for_anywhere(tmp_path: Path) -> None:
    chosen = mapped_set(tmp_path)
    plain, made = batches(chosen, FULL), batches(chosen, FULL)
    with made.prefetched():
        kept = []
        for place in ((0, 0), (0, 1), (2, 6), (0, 3), (0, 2), (1, 0), (1, 1), (0, 1)):
            kept.append((place, made.batch(*place)))
    kept.append(((1, 4), made.batch(1, 4)))
    for place, found in kept:  # none was overwritten by a later one
        assert equal(found, plain.batch(*place))


def test_small_images_and_images_in_memory_are_cut_without_a_thread(tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", image_set().images)
    small = ImageSet(map_array(tmp_path / "small.npy"), image_set().labels, image_set().indices)
    in_memory = ImageSet(np.zeros((9, 160, 160, 3), np.uint8), np.arange(9), np.arange(9))
    for chosen, order, count in ((small, "random", 0), (in_memory, "blocks", 0), (small, "blocks", 1)):
        made = batches(chosen, order=order)
        with made.prefetched():
            made.batch(0, 0)
            assert prefetching_threads() == count


def mixed_batches(batch_size: int = 8) -> TrainingBatches:
    chosen = image_set(60)
    classes = ImageSet(chosen.images, chosen.labels % 5, chosen.indices)
    return TrainingBatches(
        classes, MIXED, seed=2, batch_size=batch_size, num_classes=5, mean_color=MEAN_COLOR, device=CPU
    )


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 12])
def test_the_ranks_together_have_the_mixed_batch_of_one_process(batch_size: int, world: int) -> None:
    for step in (0, 1, 4):
        images, targets = mixed_batches(batch_size).batch(3, step)
        assert (images.shape, images.dtype) == ((batch_size, 6, 6, 3), torch.uint8)
        assert (targets.shape, targets.dtype) == ((batch_size, 5), torch.float32)
        torch.testing.assert_close(targets.sum(1), torch.ones(batch_size))
        for rank in range(world):
            part = mixed_batches(batch_size).batch(3, step, rank, world)
            assert equal(part, (images[rank::world], targets[rank::world]))


def test_a_mixed_batch_is_the_batch_mixed_by_the_step_of_the_whole_training() -> None:
    made = mixed_batches(12)
    assert made.steps_per_epoch == 5
    chosen = image_set(60)
    plain = TrainingBatches(
        ImageSet(chosen.images, chosen.labels % 5, chosen.indices),
        MIXED.model_copy(update={"mixup": 0.0, "cutmix": 0.0}),
        seed=2,
        batch_size=12,
        num_classes=5,
        mean_color=MEAN_COLOR,
        device=CPU,
    )
    boxes = set()
    for epoch, step in ((0, 0), (0, 4), (1, 0), (2, 3), (7, 1)):
        mix = draw_mix(MIXED, 6, seed=2, step=5 * epoch + step)
        boxes.add(mix.box is None)
        assert equal(made.batch(epoch, step), mixed(*plain.batch(epoch, step), mix, 5))
    assert boxes == {True, False}


def test_pictures_do_not_depend_on_the_batch_size() -> None:
    chosen = image_set(24)

    whole = pictures(batches(chosen, FULL, batch_size=24), 2)
    assert len(whole) == 24
    for batch_size in (1, 5, 12):
        found = pictures(batches(chosen, FULL, batch_size=batch_size), 2)
        assert found.items() <= whole.items()


def test_draws_belong_to_the_row_of_the_store() -> None:
    chosen = image_set()
    images, labels = batches(chosen, FULL, seed=4).batch(5, 1)
    rows = labels.numpy() - 1000
    draws = draw(FULL, 6, seed=4, epoch=5, samples=rows, device=CPU)
    expected = augment(torch.from_numpy(chosen.images[rows]), draws, FULL, torch.from_numpy(MEAN_COLOR))
    assert torch.equal(images, expected)


def test_examples_are_stored_images_and_what_epoch_0_makes_of_them() -> None:
    chosen = image_set(24)
    made = batches(chosen, FULL)
    stored, augmented, labels = made.examples(np.array([5, 0, 23]))
    rows = chosen.indices[[5, 0, 23]]
    np.testing.assert_array_equal(stored, chosen.images[rows])
    assert labels.tolist() == (1000 + rows).tolist()
    by_label = pictures(made, 0)
    assert [image.tobytes() for image in augmented] == [by_label[label] for label in labels.tolist()]


def test_the_store_is_left_alone() -> None:
    chosen = image_set()
    before = chosen.images.copy()
    made = batches(chosen, FULL)
    for step in range(made.steps_per_epoch):
        made.batch(0, step)[0].zero_()
    np.testing.assert_array_equal(chosen.images, before)


def test_what_cannot_be_batched_is_refused() -> None:
    chosen = image_set()
    with pytest.raises(RecipeError, match=r"augment\.crop_padding: 6 needs images larger than 6 pixels"):
        batches(chosen, AugmentSection(crop_padding=6))


@given(st.integers(0, 30), st.integers(1, 40))
@settings(deadline=None)
def test_evaluation_takes_each_image_once(count: int, batch_size: int) -> None:
    chosen = image_set(count)
    found = list(evaluation_batches(chosen, batch_size, CPU))
    assert [len(labels) for _, labels in found[:-1]] == [batch_size] * (len(found) - 1)
    labels = [label for _, labels in found for label in labels.tolist()]
    assert labels == (1000 + chosen.indices).tolist()
    if count:
        images = torch.cat([images for images, _ in found]).numpy()
        np.testing.assert_array_equal(images, chosen.images[chosen.indices])


@pytest.mark.parametrize("count", [1, 999, 1000, 2001])
def test_statistics_are_those_of_numpy(count: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (count + 5, 4, 4, 3)).astype(np.uint8)
    images[..., 1] //= 3
    images[count:] = 255
    chosen = ImageSet(images, np.zeros(count + 5, np.int64), np.random.default_rng(3).permutation(count))
    pixels: NDArray[Any] = images[:count].reshape(-1, 3) / 255
    mean, std = channel_statistics(chosen)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(std, pixels.std(0), rtol=0, atol=1e-9)
    assert all(isinstance(value, float) for value in (*mean, *std))


def test_statistics_do_not_depend_on_the_order() -> None:
    chosen = image_set(30)
    turned = ImageSet(chosen.images, chosen.labels, chosen.indices[::-1].copy())
    assert channel_statistics(turned) == channel_statistics(chosen)


def test_a_channel_that_is_the_same_everywhere_is_divided_by_one() -> None:
    images = np.full((3, 2, 2, 3), 51, np.uint8)
    mean, std = channel_statistics(ImageSet(images, np.zeros(3, np.int64), np.arange(3)))
    assert mean == pytest.approx((0.2, 0.2, 0.2))
    assert std == (1.0, 1.0, 1.0)
