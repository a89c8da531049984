import numpy as np
import pytest

from pictorch.bundle.agreement import TIE, TOLERANCE, compare

ONE = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], np.float32)


def test_equal_probabilities_agree():
    agreement = compare(ONE, ONE)
    assert agreement.ok
    assert (agreement.n, agreement.largest_difference, agreement.top1_differences) == (2, 0.0, 0)


@pytest.mark.parametrize(("shift", "ok"), [(0.9 * TOLERANCE, True), (1.2 * TOLERANCE, False)])
def test_tolerance_is_where_it_is_said(shift, ok):
    agreement = compare(ONE, ONE + np.float32(shift))
    assert agreement.top1_differences == 0
    assert agreement.ok is ok


@pytest.mark.parametrize(("margin", "differences"), [(0.5 * TIE, 0), (20 * TIE, 1)])
def test_other_top_class_counts_unless_it_was_a_tie(margin, differences):
    expected = np.array([[0.4 + margin, 0.4, 0.2]], np.float32)
    found = np.array([[0.4, 0.4 + margin, 0.2]], np.float32)
    assert compare(expected, found).top1_differences == differences


def test_other_top_class_within_the_tolerance_is_refused():
    expected = np.array([[0.40002, 0.4, 0.19998]], np.float32)
    agreement = compare(expected, expected[:, [1, 0, 2]])
    assert agreement.largest_difference < TOLERANCE
    assert not agreement.ok


def test_nan_never_agrees():
    broken = ONE.copy()
    broken[0, 2] = np.nan
    assert not compare(ONE, broken).ok
    assert not compare(broken, broken).ok
