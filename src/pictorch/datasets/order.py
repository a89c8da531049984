"""The order of an epoch: any image after any other, or blocks of neighbours for what memory cannot hold.

In block order rows that lie side by side stay together as blocks, the blocks are shuffled, a window of
blocks is read at a time, and its images are shuffled: a disk reads megabytes at a time and a batch still
has images of many blocks. After FFCV's QUASI_RANDOM (Leclerc et al., "FFCV: Accelerating training by
removing data bottlenecks", 2023).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pictorch.randomness import Purpose, permutation

BLOCK_BYTES = 1 << 21  # at least; an order that was recorded depends on both, so neither changes
WINDOW_BYTES = 1 << 29  # at most, but for one block; the page cache needs two


@dataclass(frozen=True)
class EpochOrder:
    """The rows of an epoch, int64 (n,): as batches take them, and in block order as the disk is to read them.

    What the images `start` to `stop` of the epoch need is among the first `stop` + `window` of `reading`.
    """

    rows: NDArray[np.int64]
    reading: NDArray[np.int64] | None = None
    window: int = 0  # images


def random_order(rows: NDArray[np.int64], *, seed: int, epoch: int) -> EpochOrder:
    """Returns the rows in an order drawn from all orders."""
    return EpochOrder(rows[permutation(seed, Purpose.ORDER, len(rows), epoch)])


def block_order(
    rows: NDArray[np.int64],
    row_bytes: int,
    *,
    seed: int,
    epoch: int,
    block_bytes: int = BLOCK_BYTES,
    window_bytes: int = WINDOW_BYTES,
) -> EpochOrder:
    """Returns the rows in block order, a function of the arguments alone.

    Windows are of equal size, to a block. Where every block holds one class alone, the number of images of
    a class in a batch of n varies (in variance) 1 + n / w times as much as in random order, or less, with w
    blocks in a window.
    """
    block = -(-block_bytes // row_bytes)
    blocks = max(1, window_bytes // (block * row_bytes))
    rows = np.sort(rows)
    count = -(-len(rows) // block)
    windows = -(-count // blocks)
    turn = np.argsort(permutation(seed, Purpose.BLOCKS, count, epoch))  # of each block
    turns = np.repeat(turn, block)[: len(rows)]
    shuffled = permutation(seed, Purpose.ORDER, len(rows), epoch)
    in_windows = shuffled[np.argsort(turns[shuffled] * windows // count, kind="stable")]
    return EpochOrder(rows[in_windows], rows[np.argsort(turns, kind="stable")], block * blocks)
