"""The embedded digits as a source."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pictorch.datasets import load_splits
from pictorch.errors import MissingPartError
from pictorch.recipe import DataSection


def test_digits_are_scikit_learns_scaled_to_bytes() -> None:
    splits = load_splits(DataSection(source="digits"))
    theirs = load_digits()
    assert splits.class_names == tuple("0123456789")
    assert splits.input.stored_size == 8
    assert np.array_equal(splits.train.labels, theirs.target)
    assert np.abs(splits.train.images[..., 1] - theirs.images * 255 / 16).max() <= 0.5
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
    assert splits.val is not None
    assert splits.test is not None
    assert len(splits.train) + len(splits.val) + len(splits.test) == 1797


def test_digits_shrunk_and_kept_below_a_larger_size() -> None:
    small = load_splits(DataSection(source="digits", image_size=4))
    assert small.train.images.shape == (1797, 4, 4, 3)
    large = load_splits(DataSection(source="digits", image_size=32))
    assert large.train.images.shape == (1797, 8, 8, 3)
    assert (large.input.stored_size, large.input.image_size) == (8, 32)


def test_without_scikit_learn_the_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingPartError, match=r"pip install 'pictorch\[train\]'"):
        load_splits(DataSection(source="digits"))
