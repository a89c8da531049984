"""Golden samples: the few images that a bundle carries and answers again wherever it is opened."""

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets import ImageSet

GOLDEN_IMAGES = 16

_LARGEST_BYTES = 64 * 2**20


def golden_images(images: ImageSet) -> NDArray[np.uint8]:
    """Returns up to GOLDEN_IMAGES images uint8 (k, size, size, 3), spread evenly over the classes.

    The choice follows from the labels alone. Very large images are fewer, at least one.
    """
    labels = images.labels[images.indices]
    by_class = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_class], labels[by_class])
    place_in_class = np.arange(len(labels)) - starts
    in_turns = by_class[np.lexsort((labels[by_class], place_in_class))]

    image_bytes = int(np.prod(images.images.shape[1:]))
    count = min(GOLDEN_IMAGES, len(labels), max(1, _LARGEST_BYTES // image_bytes))
    one_of_each = in_turns[: max(count, len(np.unique(labels)))]
    chosen = one_of_each[np.arange(count) * len(one_of_each) // count]
    return np.ascontiguousarray(images.images[images.indices[chosen]])
