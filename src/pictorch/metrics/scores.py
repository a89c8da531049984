"""Loss, accuracy and per-class scores as pure functions of stored logits (N, C) and labels (N,)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.errors import DivergedError
from pictorch.metrics.interval import wilson_interval
from pictorch.run_folder import ClassScore
from pictorch.softmax import log_softmax, probabilities

Logits = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Scores:
    """The part of an Evaluation that follows from logits, labels and class names alone.

    `Evaluation(split=..., checkpoint=..., test_openings=..., **vars(scores))` is the whole record.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    top5: float | None
    per_class: tuple[ClassScore, ...]
    macro: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]


def loss_and_accuracy(logits: Logits, labels: Labels) -> tuple[float, float]:
    """Returns the mean cross-entropy in nats and the fraction of right answers.

    Computed in float64, so equal logits give equal numbers wherever they are judged. A logit that
    is not finite gives a loss that is not finite.
    """
    assert len(logits) == len(labels) > 0
    rows = np.arange(len(labels))
    loss = -np.mean(log_softmax(logits)[rows, labels])
    return float(loss), float(np.mean(logits.argmax(axis=1) == labels))


def score(logits: Logits, labels: Labels, class_names: Sequence[str]) -> Scores:
    """Returns every score of the answers; a class without images or answers counts as 0.

    Top-5 is None for five classes or fewer; the AUC (one against the rest, on the softmax) is None
    for a class that is absent or alone. Raises DivergedError when a logit is not finite.
    """
    not_finite = int(np.sum(~np.isfinite(logits).all(axis=1)))
    if not_finite:
        raise DivergedError(
            f"the network's output is not finite for {not_finite:,} of {len(labels):,} images; "
            "name an earlier --checkpoint, or train again with a lower optimizer.lr"
        )
    loss, accuracy = loss_and_accuracy(logits, labels)
    per_class = _per_class(logits, labels, class_names)
    correct = int(np.sum(logits.argmax(axis=1) == labels))
    return Scores(
        n=len(labels),
        accuracy=accuracy,
        accuracy_interval=wilson_interval(correct, len(labels)),
        loss=loss,
        top5=_top_fraction(logits, labels, 5) if len(class_names) > 5 else None,
        per_class=per_class,
        macro={
            "precision": _mean([row.precision for row in per_class]),
            "recall": _mean([row.recall for row in per_class]),
            "f1": _mean([row.f1 for row in per_class]),
            "auc": _mean([row.auc for row in per_class if row.auc is not None]),
        },
        confusion=tuple(tuple(row) for row in confusion_counts(logits, labels).tolist()),
    )


def most_confident_mistakes(logits: Logits, labels: Labels, limit: int = 24) -> NDArray[np.int64]:
    """Returns the rows of at most `limit` wrong answers, the most confident first, then by row."""
    predicted = logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = log_softmax(logits[wrong]).max(axis=1, initial=-np.inf)
    return wrong[np.argsort(-confidence, kind="stable")][:limit].astype(np.int64)


def hits(logits: Logits, labels: Labels) -> NDArray[np.int64]:
    """Returns the rows of all right answers, the least confident first, then by row."""
    right = np.flatnonzero(logits.argmax(axis=1) == labels)
    confidence = log_softmax(logits[right]).max(axis=1, initial=-np.inf)
    return right[np.argsort(confidence, kind="stable")].astype(np.int64)


def class_fractions(counts: NDArray[np.int64]) -> dict[str, list[float]]:
    """Returns precision, recall and F1 of each class from its confusion_counts, 0 where nothing counts."""
    right, answers, images = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    parts = {"precision": (right, answers), "recall": (right, images), "f1": (2 * right, answers + images)}
    return {key: (above / np.maximum(1, below)).tolist() for key, (above, below) in parts.items()}


def _top_fraction(logits: Logits, labels: Labels, k: int) -> float:
    """Equal logits are ranked by class number, as argmax does, so top-1 would be the accuracy."""
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1])[None, :] < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    return float(np.mean(ahead.sum(axis=1) < k))


def _per_class(logits: Logits, labels: Labels, class_names: Sequence[str]) -> tuple[ClassScore, ...]:
    found = class_fractions(confusion_counts(logits, labels))
    n, auc = np.bincount(labels, minlength=len(class_names)), _auc(probabilities(logits), labels)
    return tuple(
        ClassScore(name, int(n[c]), **{key: values[c] for key, values in found.items()}, auc=auc[c])
        for c, name in enumerate(class_names)
    )


def _auc(probability: NDArray[np.float64], labels: Labels) -> list[float | None]:
    from sklearn.metrics import roc_auc_score

    found: list[float | None] = []
    for c in range(probability.shape[1]):
        positive = labels == c
        defined = 0 < positive.sum() < len(labels)
        found.append(float(roc_auc_score(positive, probability[:, c])) if defined else None)
    return found


def confusion_counts(logits: Logits, labels: Labels) -> NDArray[np.int64]:
    """Returns how many images of label i were called j, int64 (C, C)."""
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
