"""The embedded digits as a source."""

import subprocess
import sys
from pathlib import Path

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


def test_they_are_the_same_where_scikit_learn_keeps_them_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint() -> str:
        return load_splits(DataSection(source="digits")).fingerprint

    before, is_file = fingerprint(), Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: path.name != "digits.csv.gz" and is_file(path))
    assert fingerprint() == before


def test_reading_them_does_not_import_scikit_learn() -> None:
    """Which takes as long as importing torch."""
    program = (
        "import sys\nfrom pictorch.datasets import load_splits\nfrom pictorch.recipe import DataSection\n"
        "load_splits(DataSection(source='digits'))\nassert 'sklearn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_digits_shrunk_and_kept_below_a_larger_size() -> None:
    small = load_splits(DataSection(source="digits", image_size=4))
    assert small.train.images.shape == (1797, 4, 4, 3)
    large = load_splits(DataSection(source="digits", image_size=32))
    assert large.train.images.shape == (1797, 8, 8, 3)
    assert (large.input.stored_size, large.input.image_size) == (8, 32)


def test_without_scikit_learn_the_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPartError, match=r"pip install 'pictorch\[train\]'"):
        load_splits(DataSection(source="digits"))
