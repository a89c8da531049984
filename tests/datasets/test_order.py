"""The order of an epoch: every image once; in blocks that lie side by side; mixed nearly as at random."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.datasets.order import BLOCK_BYTES, WINDOW_BYTES, EpochOrder, block_order, random_order
from pictorch.randomness import Purpose, permutation

SIDE_256_BYTES = 256 * 256 * 3


def in_blocks(count: int, block: int, blocks: int, *, seed: int = 0, epoch: int = 0) -> EpochOrder:
    """Returns the order of `count` rows, `block` in a block and at most `blocks` blocks in a window."""
    rows = np.arange(count)
    return block_order(rows, 1, seed=seed, epoch=epoch, block_bytes=block, window_bytes=block * blocks)


def test_random_order_is_what_it_always_was() -> None:
    rows = np.array([7, 3, 11, 5])
    found = random_order(rows, seed=5, epoch=2)
    assert found.rows.tolist() == rows[permutation(5, Purpose.ORDER, 4, 2)].tolist()
    assert found.reading is None


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 10),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 2**63 - 1),
)
@settings(deadline=None)
def test_every_image_once_and_read_before_its_turn(
    count: int, block: int, blocks: int, row_bytes: int, epoch: int, seed: int
) -> None:
    rows = np.random.default_rng(count).permutation(3 * count)[:count]

    def drawn() -> EpochOrder:
        sizes = {"block_bytes": block, "window_bytes": block * blocks}
        return block_order(rows, row_bytes, seed=seed, epoch=epoch, **sizes)

    order = drawn()
    assert order.reading is not None
    assert sorted(order.rows.tolist()) == sorted(order.reading.tolist()) == sorted(rows.tolist())
    place = {row: number for number, row in enumerate(order.reading.tolist())}
    assert all(place[row] < number + order.window for number, row in enumerate(order.rows.tolist()))
    again = drawn()
    assert np.array_equal(again.rows, order.rows)


def test_blocks_lie_side_by_side_and_windows_hold_the_same_images() -> None:
    order = in_blocks(1000, 10, 8)
    assert order.reading is not None
    blocks = order.reading.reshape(100, 10)
    assert (np.diff(blocks) == 1).all()
    assert (blocks[:, 0] % 10 == 0).all()
    assert not (np.diff(blocks[:, 0]) == 10).all(), "blocks are shuffled"
    starts = [10 * -(-100 * window // 13) for window in range(14)]  # 13 windows of 7 or 8 blocks
    for start, stop in pairwise(starts):
        assert 70 <= stop - start <= 80
        assert sorted(order.rows[start:stop]) == sorted(order.reading[start:stop])
        assert not np.array_equal(order.rows[start:stop], order.reading[start:stop])


def test_seed_and_epoch_change_blocks_and_images() -> None:
    orders = [in_blocks(1000, 10, 8, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.rows) for order in orders}) == 4
    assert len({tuple(order.reading) for order in orders if order.reading is not None}) == 4


def test_one_window_is_random_order() -> None:
    expected = random_order(np.arange(77), seed=3, epoch=1).rows
    assert np.array_equal(in_blocks(77, 10, 8, seed=3, epoch=1).rows, expected)


def test_sizes_for_images_of_any_size() -> None:
    """Blocks are at least 2 MB; one image that is larger is a block; windows stay within 512 MB."""
    for side in (32, 224, 256, 1024, 4096):
        row_bytes = 3 * side**2
        order = block_order(np.arange(50), row_bytes, seed=0, epoch=0)
        block = max(1, -(-BLOCK_BYTES // row_bytes))
        assert order.window % block == 0
        assert block * row_bytes >= BLOCK_BYTES
        assert WINDOW_BYTES - block * row_bytes < order.window * row_bytes <= WINDOW_BYTES


@pytest.mark.parametrize("batch_size", [32, 64, 128])
def test_class_counts_of_batches_are_near_those_of_random_order(batch_size: int) -> None:
    """On a store that is sorted by class, which every image folder is: the worst one."""
    count, classes, block, blocks = 20_000, 10, 10, 64
    counts = []
    for epoch in range(6):
        labels = in_blocks(count, block, blocks, epoch=epoch).rows * classes // count
        batches = labels[: count // batch_size * batch_size].reshape(-1, batch_size)
        counts += [np.bincount(batch, minlength=classes) for batch in batches]
    random_variance = batch_size * (1 / classes) * (1 - 1 / classes)
    least_blocks = 62  # 2,000 blocks in 32 windows
    ratio = np.var(counts, axis=0).mean() / random_variance
    assert 1 < ratio < 1 + batch_size / least_blocks


def test_a_batch_of_256_pixel_images_has_images_of_many_blocks() -> None:
    order = block_order(np.arange(20_000), SIDE_256_BYTES, seed=0, epoch=0)
    block = -(-BLOCK_BYTES // SIDE_256_BYTES)
    batches = (order.rows[: 312 * 64] // block).reshape(312, 64)
    blocks = [len(set(batch.tolist())) for batch in batches]
    assert np.mean(blocks) > 54, "64 of a window of about 230 blocks"
    assert max(np.bincount(batch).max() for batch in batches) <= 6
