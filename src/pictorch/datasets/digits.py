"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels, 16 greys.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine learning repository, 1998.
"""

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.errors import MissingPartError


def open_digits(progress: Progress) -> Source:
    """Returns the digits as a source of one part, in memory; raises MissingPartError without scikit-learn."""
    return Source("digits, embedded in scikit-learn", None, lambda: nullcontext(_read_digits()))


def _read_digits() -> Contents:
    table = _table()
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., np.newaxis], 3, axis=3)
    pictures = Pictures(
        names=[f"digit {row}" for row in range(len(images))],
        labels=table[:, -1].astype(np.int64),
        read=images.__getitem__,
    )
    return Contents(tuple(str(digit) for digit in range(10)), {"train": pictures})


def _table() -> NDArray[Any]:
    """Returns a row for each image: 64 greys of 0 to 16, and the digit."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingPartError("train", "scikit-learn")
    # Importing scikit-learn, with SciPy and pandas behind it, takes longer than an epoch.
    path = Path(package.origin).with_name("datasets") / "data/digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))
