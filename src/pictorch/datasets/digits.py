"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels, 16 greys.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine learning repository, 1998.
"""

from contextlib import nullcontext

import numpy as np

from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.errors import MissingPartError


def open_digits(progress: Progress) -> Source:
    """Returns the digits as a source of one part, in memory; raises MissingPartError without scikit-learn."""
    return Source("digits, embedded in scikit-learn", None, lambda: nullcontext(_read_digits()))


def _read_digits() -> Contents:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingPartError("train", "scikit-learn") from None
    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., np.newaxis], 3, axis=3)
    pictures = Pictures(
        names=[f"digit {row}" for row in range(len(images))],
        labels=digits.target.astype(np.int64),
        read=images.__getitem__,
    )
    return Contents(tuple(str(digit) for digit in range(10)), {"train": pictures})
