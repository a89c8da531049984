"""The softmax that turns stored logits into probabilities."""

import numpy as np
import pytest

from pictorch.metrics import probabilities


def test_by_hand() -> None:
    rows = probabilities(np.log(np.array([[1.0, 2.0, 5.0]])))
    assert rows[0] == pytest.approx([0.125, 0.25, 0.625])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4, 1e37])
def test_rows_sum_to_one_in_float64(scale: float) -> None:
    logits = np.random.default_rng(0).uniform(-1, 1, (50, 7)).astype(np.float32) * np.float32(scale)
    rows = probabilities(logits)
    assert rows.dtype == np.float64
    assert rows.sum(axis=1) == pytest.approx(np.ones(50))
    assert (rows.argmax(axis=1) == logits.argmax(axis=1)).all()
