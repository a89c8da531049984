"""The counter-based generator against its authors' vectors, and what is drawn from it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.randomness import Purpose, derived_seed, integers, permutation, philox, reals, words

seeds = st.integers(0, 2**63 - 1)
epochs = st.integers(0, 2**32 - 1)
purposes = st.sampled_from(Purpose)
samples = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # kat_vectors of Random123 1.14.0, philox4x32 with 10 rounds.
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    c0, c1, c2, c3 = (int(word, 16) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    seed = (k1 << 32) | k0
    assert " ".join(f"{word:08x}" for word in philox((c0, c1, c2, c3), seed)) == expected
    a0, a1, a2, a3 = (np.array([5, word], np.uint64) for word in (c0, c1, c2, c3))
    assert " ".join(f"{int(word[1]):08x}" for word in philox((a0, a1, a2, a3), seed)) == expected


def test_purposes_keep_their_numbers() -> None:
    """Runs of long ago stay repeatable only while no number changes; new ones are added below."""
    assert {purpose.name: purpose.value for purpose in Purpose} == {
        "SPLIT": 1,
        "ORDER": 2,
        "FLIP_AND_CROP": 3,
        "CUTOUT": 4,
        "INITIALIZATION": 5,
        "DROPOUT": 6,
        "SAMPLES": 7,
        "FLIP_PARITY": 8,
        "RESIZED_CROP": 9,
        "ROTATION": 10,
        "COLOR_JITTER": 11,
        "POLICY": 12,
        "ERASING": 13,
        "MIXING": 14,
        "WHITENING": 15,
        "BLOCKS": 16,
        "MADE_IMAGES": 17,
    }


def test_words_put_sample_epoch_and_purpose_into_the_counter_and_the_seed_into_the_key() -> None:
    sample, seed = 0x1122334455667788, 0x0123456789ABCDEF
    expected = [philox((0x55667788, 0x11223344, 77, 4), seed)]
    drawn = words(seed, Purpose.CUTOUT, np.array([sample]), epoch=77)
    assert drawn.dtype == np.uint32
    np.testing.assert_array_equal(drawn, expected)


@given(seeds, purposes, samples, epochs)
@settings(deadline=None, max_examples=50)
def test_a_row_depends_on_its_own_sample_alone(
    seed: int, purpose: Purpose, chosen: list[int], epoch: int
) -> None:
    together = words(seed, purpose, np.array(chosen, np.uint64), epoch)
    for row, sample in enumerate(chosen):
        alone = words(seed, purpose, np.array([sample], np.uint64), epoch)
        np.testing.assert_array_equal(together[row], alone[0])


@given(seeds, st.integers(0, 2**64 - 2), st.integers(0, 2**32 - 2))
@settings(deadline=None, max_examples=50)
def test_seed_purpose_sample_and_epoch_each_change_the_words(seed: int, sample: int, epoch: int) -> None:
    def drawn(seed: int, purpose: Purpose, sample: int, epoch: int) -> bytes:
        return words(seed, purpose, np.array([sample], np.uint64), epoch).tobytes()

    others = {
        drawn(seed, Purpose.ORDER, sample, epoch),
        drawn(seed + 1, Purpose.ORDER, sample, epoch),
        drawn(seed ^ 1 << 40, Purpose.ORDER, sample, epoch),
        drawn(seed, Purpose.CUTOUT, sample, epoch),
        drawn(seed, Purpose.ORDER, sample + 1, epoch),
        drawn(seed, Purpose.ORDER, sample, epoch + 1),
    }
    assert len(others) == 6


def test_neighbouring_seeds_share_no_stream() -> None:
    """Adding seed and sample would make seed 1, sample 0 the same as seed 0, sample 1."""
    first = {row.tobytes() for row in words(0, Purpose.FLIP_AND_CROP, np.arange(1000))}
    second = {row.tobytes() for row in words(1, Purpose.FLIP_AND_CROP, np.arange(1000))}
    assert len(first) == len(second) == 1000
    assert not first & second


@given(st.integers(-1000, 1000), st.integers(1, 5000), seeds)
@settings(deadline=None, max_examples=50)
def test_integers_stay_within_their_bounds(low: int, span: int, seed: int) -> None:
    drawn = integers(words(seed, Purpose.CUTOUT, np.arange(50)), low, low + span)
    assert drawn.dtype == np.int64
    assert drawn.min() >= low
    assert drawn.max() < low + span


def test_integers_reach_both_bounds() -> None:
    extremes = np.array([0, 2**32 - 1], np.uint32)
    assert integers(extremes, -3, 6).tolist() == [-3, 5]


def test_integers_are_uniform() -> None:
    count, span = 90_000, 9
    drawn = integers(words(0, Purpose.FLIP_AND_CROP, np.arange(count))[:, 1], 0, span)
    expected = count / span
    deviation = np.abs(np.bincount(drawn, minlength=span) - expected).max()
    assert deviation < 5 * math.sqrt(expected)


def test_reals_fill_their_range_evenly() -> None:
    extremes = np.array([0, 2**31, 2**32 - 1], np.uint32)
    np.testing.assert_allclose(reals(extremes, -3, 6), [-3, 1.5, 6], atol=1e-8)
    assert (np.abs(reals(extremes, -1, 1)) < 1).all()
    drawn = reals(words(0, Purpose.ROTATION, np.arange(90_000))[:, 0], -10, 20)
    assert np.abs(np.histogram(drawn, 30, (-10, 20))[0] - 3000).max() < 5 * math.sqrt(3000)


def test_the_four_words_are_not_correlated() -> None:
    drawn = words(0, Purpose.CUTOUT, np.arange(20_000)).astype(np.float64)
    correlation = np.corrcoef(drawn, rowvar=False) - np.eye(4)
    assert np.abs(correlation).max() < 5 / math.sqrt(len(drawn))


@given(seeds, purposes, st.integers(0, 300), epochs)
@settings(deadline=None, max_examples=50)
def test_permutation_holds_each_sample_once(seed: int, purpose: Purpose, count: int, epoch: int) -> None:
    order = permutation(seed, purpose, count, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_permutation_is_repeatable_and_differs_between_seeds_epochs_and_purposes() -> None:
    asked = [(0, Purpose.ORDER, 0), (1, Purpose.ORDER, 0), (0, Purpose.ORDER, 1), (0, Purpose.SPLIT, 0)]
    orders = [permutation(seed, purpose, 100, epoch).tolist() for seed, purpose, epoch in asked]
    assert orders == [permutation(seed, purpose, 100, epoch).tolist() for seed, purpose, epoch in asked]
    for position, order in enumerate(orders):
        assert all(order != other for other in orders[:position])
        assert order != list(range(100))


def test_permutation_puts_every_sample_anywhere() -> None:
    """The first place is held by each of 5 samples about equally often over 2,000 epochs."""
    first = [int(permutation(0, Purpose.ORDER, 5, epoch)[0]) for epoch in range(2000)]
    assert np.abs(np.bincount(first, minlength=5) - 400).max() < 5 * math.sqrt(400)


@given(seeds, purposes, st.integers(0, 2**40 - 1), st.integers(0, 255), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_derived_seed_fits_63_bits(seed: int, purpose: Purpose, step: int, part: int, rank: int) -> None:
    assert 0 <= derived_seed(seed, purpose, step, part, rank) < 2**63


def test_derived_seed_is_the_first_half_of_the_words_without_its_last_bit() -> None:
    for seed, position in ((0, (0, 0, 0)), (2**63 - 1, (12345, 3, 2)), (7, (2**39, 255, 1000))):
        sample = np.array([position[0] | position[1] << 40 | position[2] << 48])
        high, low = (int(word) for word in words(seed, Purpose.DROPOUT, sample)[0, :2])
        assert derived_seed(seed, Purpose.DROPOUT, *position) == (high << 32 | low) >> 1


def test_derived_seed_is_a_function_of_its_position() -> None:
    asked = [(seed, *position) for seed in (0, 1) for position in np.ndindex(20, 5, 4)]
    drawn = [derived_seed(seed, Purpose.DROPOUT, *position) for seed, *position in asked]
    assert len(set(drawn)) == len(drawn) == 800
    assert drawn == [derived_seed(seed, Purpose.DROPOUT, *position) for seed, *position in asked]


def test_positions_that_are_not_given_are_0() -> None:
    assert derived_seed(5, Purpose.DROPOUT) == derived_seed(5, Purpose.DROPOUT, 0, 0, 0)
    assert derived_seed(5, Purpose.DROPOUT, 9) == derived_seed(5, Purpose.DROPOUT, 9, 0)
    assert derived_seed(5, Purpose.DROPOUT, 9) != derived_seed(5, Purpose.INITIALIZATION, 9)
