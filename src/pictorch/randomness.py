"""Randomness as a function: every draw is computed from who asks for it, never from a state.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011). A 128-bit counter holds (sample, epoch, purpose) and a 64-bit key the seed, so
any single draw can be repeated alone, on any machine, in any process, in any order.
"""

from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

UintArray = NDArray[np.uint32]
Bound = float | NDArray[np.float64]
Word = TypeVar("Word", int, NDArray[Any])  # below 2^32; arrays are uint64, which holds their products

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_HALF = 32


class Purpose(IntEnum):
    """What a draw is for. Numbers are never changed or reused: old runs must stay repeatable."""

    SPLIT = 1
    ORDER = 2
    FLIP_AND_CROP = 3
    CUTOUT = 4
    INITIALIZATION = 5
    DROPOUT = 6
    SAMPLES = 7
    FLIP_PARITY = 8
    RESIZED_CROP = 9
    ROTATION = 10
    COLOR_JITTER = 11
    POLICY = 12
    ERASING = 13
    MIXING = 14
    WHITENING = 15
    BLOCKS = 16
    MADE_IMAGES = 17


def philox(counter: tuple[Word, Word, Word, Word], seed: int) -> tuple[Word, Word, Word, Word]:
    """Returns the four output words of a counter: of integers, or of equal-shaped arrays for many at once.

    The integers are for one draw alone, for which arrays take ten times as long.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = seed & _LOW, (seed >> _HALF) & _LOW
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def words(seed: int, purpose: Purpose, samples: NDArray[np.integer], epoch: int = 0) -> UintArray:
    """Returns uint32 random words (len(samples), 4), each row a function of its sample alone."""
    index = np.asarray(samples, dtype=np.uint64)
    epochs, purposes = np.full_like(index, epoch), np.full_like(index, int(purpose))
    drawn = philox((index & _LOW, index >> _HALF, epochs, purposes), seed)
    return np.stack(drawn, axis=-1).astype(np.uint32)


def integers(random_words: UintArray, low: int, high: int) -> NDArray[np.int64]:
    """Returns integers in [low, high) from random words, by multiplication (bias below 2^-24)."""
    span = np.uint64(high - low)
    return ((random_words.astype(np.uint64) * span) >> _HALF).astype(np.int64) + low


def reals(random_words: UintArray, low: Bound, high: Bound) -> NDArray[np.float64]:
    """Returns numbers between low and high, the middles of 2^32 equal steps, from random words."""
    return np.asarray(low + (random_words + 0.5) * ((high - low) / 2**32), np.float64)


def permutation(seed: int, purpose: Purpose, count: int, epoch: int = 0) -> NDArray[np.int64]:
    """Returns the order of `count` samples: the stable sort of one 64-bit word for each."""
    drawn = words(seed, purpose, np.arange(count), epoch)
    keys = (drawn[:, 0].astype(np.uint64) << _HALF) | drawn[:, 1].astype(np.uint64)
    return np.argsort(keys, kind="stable").astype(np.int64)


def derived_seed(seed: int, purpose: Purpose, *position: int) -> int:
    """Returns a 63-bit seed for another generator, a function of (seed, purpose, position).

    `position` has up to three numbers, for instance (step, micro-batch, rank).
    """
    step, micro_batch, rank = (*position, 0, 0, 0)[:3]
    sample = (rank << 48) | (micro_batch << 40) | step
    high, low, _, _ = philox((sample & _LOW, sample >> _HALF, 0, int(purpose)), seed)
    return ((high << _HALF) | low) >> 1


def beta(seed: int, purpose: Purpose, alpha: float, *position: int) -> float:
    """Returns a number of the symmetric beta distribution, a function of (seed, purpose, position)."""
    source = np.random.Philox(key=derived_seed(seed, purpose, *position))
    return float(np.random.Generator(source).beta(alpha, alpha))
