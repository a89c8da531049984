"""Scores against cases computed by hand and against straightforward NumPy."""

import warnings
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pictorch.errors import DivergedError
from pictorch.metrics import (
    class_fractions,
    confusion_counts,
    hits,
    loss_and_accuracy,
    most_confident_mistakes,
    probabilities,
    score,
)
from pictorch.run_folder import Evaluation


def random_answers(seed: int, n: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns logits that are right more often than not, and labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels


def test_loss_and_accuracy_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=np.float64))
    loss, accuracy = loss_and_accuracy(logits, np.array([0, 1]))
    assert loss == pytest.approx((log(2) + log(10)) / 2, rel=1e-12)
    assert accuracy == 0.5


def test_loss_of_huge_logits_is_exact() -> None:
    logits = np.array([[3e38, -3e38], [1000.0, 0.0]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss_and_accuracy(logits, np.array([0, 1])) == (500.0, 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loss_of_a_logit_that_is_not_finite(bad: float) -> None:
    logits = np.array([[bad, 0.0], [1.0, 0.0]], dtype=np.float32)
    assert not np.isfinite(loss_and_accuracy(logits, np.array([0, 0]))[0])


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_loss_is_the_same_bits_for_any_memory_layout(seed: int, n: int, classes: int) -> None:
    logits, labels = random_answers(seed, n, classes)
    expected = loss_and_accuracy(logits, labels)
    assert loss_and_accuracy(np.asfortranarray(logits), labels) == expected
    assert loss_and_accuracy(np.repeat(logits, 2, axis=1)[:, ::2], labels.astype(np.int32)) == expected
    shifted = np.frombuffer(b"\0" + logits.tobytes(), dtype=np.uint8)[1:].view(np.float32)
    assert loss_and_accuracy(shifted.reshape(n, classes), labels) == expected


def test_score_by_hand() -> None:
    answers = [0, 0, 1, 1, 1, 2]
    labels = np.array([0, 1, 1, 1, 0, 2])
    logits = np.eye(3, dtype=np.float32)[answers]
    found = score(logits, labels, ["a", "b", "c"])
    assert found.n == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.confusion == ((1, 1, 0), (1, 2, 0), (0, 0, 1))
    a, b, c = found.per_class
    assert (a.name, a.n, a.precision, a.recall, a.f1) == ("a", 2, 0.5, 0.5, 0.5)
    assert (b.n, b.precision, b.recall) == (3, 2 / 3, 2 / 3)
    assert (c.n, c.precision, c.recall, c.f1, c.auc) == (1, 1, 1, 1, 1)
    # Pairs of (own, other) images: for a, 2 x 4 pairs, 3 ranked right, 4 equal, 1 wrong.
    assert a.auc == pytest.approx((3 + 4 / 2) / 8)
    assert found.macro["precision"] == pytest.approx((0.5 + 2 / 3 + 1) / 3)
    assert found.top5 is None


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (40, 3), (300, 12)])
def test_score_agrees_with_plain_numpy(n: int, classes: int) -> None:
    logits, labels = random_answers(3, n, classes)
    names = [f"class {c}" for c in range(classes)]
    found = score(logits, labels, names)
    predicted = logits.argmax(axis=1)
    for c, row in enumerate(found.per_class):
        hits = np.sum((predicted == c) & (labels == c))
        called, own = np.sum(predicted == c), np.sum(labels == c)
        assert row.n == own
        assert row.precision == pytest.approx(hits / called if called else 0)
        assert row.recall == pytest.approx(hits / own if own else 0)
        assert row.f1 == pytest.approx(2 * hits / (called + own) if hits else 0)
        mine, others = (probabilities(logits)[labels == c, c], probabilities(logits)[labels != c, c])
        if len(mine) and len(others):
            wins = (mine[:, None] > others) + 0.5 * (mine[:, None] == others)
            assert row.auc == pytest.approx(wins.mean())
        else:
            assert row.auc is None
    for i in range(classes):
        for j in range(classes):
            assert found.confusion[i][j] == np.sum((labels == i) & (predicted == j))
    if classes > 5:
        best_five = np.argsort(-logits, axis=1)[:, :5]
        assert found.top5 == np.mean([label in row for label, row in zip(labels, best_five, strict=True)])


def test_loss_and_accuracy_of_score_are_those_of_training() -> None:
    logits, labels = random_answers(4, 100, 10)
    found = score(logits, labels, [str(c) for c in range(10)])
    assert (found.loss, found.accuracy) == loss_and_accuracy(logits, labels)
    low, high = found.accuracy_interval
    assert low < found.accuracy < high


def test_top5_with_equal_logits_ranks_by_class_number() -> None:
    logits = np.zeros((8, 8), dtype=np.float32)
    labels = np.array([0, 1, 4, 5, 5, 6, 7, 7])
    assert score(logits, labels, list("abcdefgh")).top5 == 3 / 8


def test_top5_needs_more_than_five_classes() -> None:
    assert score(np.eye(5, dtype=np.float32), np.arange(5), list("abcde")).top5 is None
    assert score(np.eye(6, dtype=np.float32), np.arange(6), list("abcdef")).top5 == 1.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 0]])
def test_absent_and_lone_classes_give_no_warning(labels: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(np.zeros((3, 3), dtype=np.float32), np.array(labels), ["a", "b", "c"])
    absent = found.per_class[2]
    assert (absent.n, absent.precision, absent.recall, absent.f1, absent.auc) == (0, 0, 0, 0, None)
    defined = [row.auc for row in found.per_class if row.auc is not None]
    assert found.macro["auc"] == (0.5 if len(set(labels)) == 2 else None)
    assert len(defined) == (2 if len(set(labels)) == 2 else 0)


def test_score_fits_into_the_stored_record() -> None:
    logits, labels = random_answers(5, 30, 6)
    found = score(logits, labels, list("abcdef"))
    record = Evaluation(split="val", checkpoint="best", step=40, test_openings=0, **vars(found))
    assert_plain(record.to_json())
    assert Evaluation.from_json(record.to_json()) == record


def assert_plain(value: Any) -> None:
    """Fails on anything that JSON does not know, NumPy's numbers included."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            assert_plain(inner)
    else:
        assert value is None or type(value) in (str, int, float)


def test_output_that_is_not_finite_is_refused() -> None:
    logits = np.array([[np.nan, 0], [0, 1], [np.inf, 0]], dtype=np.float32)
    with pytest.raises(DivergedError, match="not finite for 2 of 3 images"):
        score(logits, np.array([0, 1, 0]), ["a", "b"])


def test_most_confident_mistakes_come_first() -> None:
    logits = np.array([[9, 0], [0, 3], [5, 0], [0, 7], [5, 0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 0, 1])
    assert most_confident_mistakes(logits, labels).tolist() == [3, 2, 4, 1]
    assert most_confident_mistakes(logits, labels, limit=2).tolist() == [3, 2]


def test_no_mistakes() -> None:
    rows = most_confident_mistakes(np.eye(3, dtype=np.float32), np.arange(3))
    assert rows.dtype == np.int64
    assert len(rows) == 0


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_mistakes_are_wrong_and_in_order(seed: int, n: int) -> None:
    logits, labels = random_answers(seed, n, 4)
    rows = most_confident_mistakes(logits, labels, limit=10)
    wrong = logits.argmax(axis=1) != labels
    assert len(rows) == min(10, wrong.sum())
    assert wrong[rows].all()
    confidence = probabilities(logits).max(axis=1)[rows]
    assert (np.diff(confidence) <= 1e-15).all()


def test_hits_begin_with_the_least_certain() -> None:
    logits = np.array([[5, 0, 0], [0, 1, 0], [0, 0, 9], [0, 2, 0], [1, 0, 0]], np.float32)
    assert hits(logits, np.array([0, 1, 0, 1, 0])).tolist() == [1, 4, 3, 0]
    assert hits(logits, np.array([1, 2, 0, 0, 2])).tolist() == []


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 40))
@settings(deadline=None)
def test_hits_and_mistakes_are_all_images(seed: int, classes: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, classes)).astype(np.float32)
    labels = generator.integers(0, classes, n)
    wrong = most_confident_mistakes(logits, labels, limit=n)
    assert sorted([*hits(logits, labels), *wrong]) == list(range(n))


def test_class_fractions_are_those_of_the_score() -> None:
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(size=(50, 4)).astype(np.float32), generator.integers(0, 3, 50)
    found, rows = class_fractions(confusion_counts(logits, labels)), score(logits, labels, "abcd").per_class
    assert found["precision"] == [row.precision for row in rows]
    assert found["recall"] == [row.recall for row in rows]
    assert found["f1"] == [row.f1 for row in rows]
    assert found["recall"][3] == 0, "a class without images"
