"""The two intervals against published values and their own promises."""

from statistics import mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.metrics import wilson_interval
from pictorch.metrics.interval import mean_interval

counts = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_no_trial_tells_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(counts)
@settings(deadline=None)
def test_contains_the_fraction_inside_zero_to_one(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert low < high


@given(counts, st.integers(2, 50))
@settings(deadline=None)
def test_narrows_with_more_trials(count: tuple[int, int], factor: int) -> None:
    correct, n = count
    low, high = wilson_interval(correct, n)
    low_more, high_more = wilson_interval(correct * factor, n * factor)
    assert high_more - low_more < high - low


@given(counts)
@settings(deadline=None)
def test_successes_and_failures_mirror_each_other(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson_interval(correct, n)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_more_confidence_is_wider() -> None:
    low, high = wilson_interval(90, 100, confidence=0.99)
    inner_low, inner_high = wilson_interval(90, 100, confidence=0.95)
    assert low < inner_low < inner_high < high


def test_rounding_does_not_move_the_ends() -> None:
    assert {wilson_interval(0, n)[0] for n in range(1, 300)} == {0.0}
    assert {wilson_interval(n, n)[1] for n in range(1, 300)} == {1.0}


@pytest.mark.parametrize(("n", "t"), [(2, 12.7062), (3, 4.3027), (5, 2.7764), (10, 2.2622), (31, 2.0423)])
def test_the_interval_of_a_mean_is_students(n: int, t: float) -> None:
    """t for 95 % as every printed table has it: the half width over the standard error."""
    values = [float(number) for number in range(n)]
    low, high = mean_interval(values)
    error = stdev(values) / n**0.5
    assert ((high - low) / 2 / error, (high + low) / 2) == pytest.approx((t, mean(values)), abs=5e-5)


def test_more_confidence_in_the_mean_is_wider_and_equal_values_leave_no_doubt() -> None:
    inner, outer = mean_interval([0.7, 0.8]), mean_interval([0.7, 0.8], confidence=0.99)
    assert outer[0] < inner[0] < 0.75 < inner[1] < outer[1]
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
