"""Probabilities from logits, in float64."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Returns the softmax of each row, float64 (N, C)."""
    return np.exp(log_softmax(logits))


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Returns the logarithm of the softmax of each row, float64 (N, C).

    The row's maximum is taken off first, so no logit is too large; one that is not finite makes
    its row not finite.
    """
    # A fresh, ordered copy: the memory layout must not choose another order of summation.
    rows = np.array(logits, dtype=np.float64, order="C")
    with np.errstate(invalid="ignore"):
        rows -= rows.max(axis=1, keepdims=True)
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows
