"""Images and labels that were given in Python, as a source like any other."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.contents import Contents, Labels, Pictures, Pixels, Source
from pictorch.errors import DataError, listed
from pictorch.plugins import GIVEN, in_short

# What stands for them in a recipe's data.source.
ARRAYS = f"{GIVEN}:arrays"

# (images, labels) or (images, labels, class names); NumPy's, or torch's.
Arrays = tuple[Any, Any] | tuple[Any, Any, Sequence[str]]
SourceRef = str | Path | Arrays


def source_name(data: SourceRef) -> str:
    """Returns what stands for `data` in a recipe: a name or path as it is, for arrays their word."""
    return str(data) if isinstance(data, str | Path) else ARRAYS


def array_source(data: Arrays) -> Source:
    """Returns arrays as a source of one part, in memory.

    Images are uint8 (N, H, W, 3), or grey (N, H, W); labels integers (N,) from 0 on, without gaps;
    class names '0', '1', ... unless given. Raises DataError for anything else.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DataError(
            f"data: a {type(data).__name__} is no source of images; give a name, a path, "
            "or the arrays (images, labels) or (images, labels, class_names)"
        )
    try:
        images, labels = _array(data[0]), _array(data[1])
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data: images or labels are no arrays ({in_short(error)}); give NumPy's or torch's"
        ) from error
    check_images(images, "data: images")
    labels = checked_labels(labels, len(images), "data: labels")
    names = checked_class_names(labels, data[2] if len(data) == 3 else None, "data")
    pictures = Pictures(
        names=[f"image {row}" for row in range(len(images))],
        labels=labels,
        read=in_color(images),
    )
    contents = Contents(names, {"train": pictures})
    return Source("arrays given in Python", None, lambda: nullcontext(contents))


def check_images(images: NDArray[Any], where: str) -> None:
    """Raises DataError, beginning with `where`, for what is no uint8 (N, H, W, 3) or (N, H, W)."""
    is_color = images.ndim == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (is_color or images.ndim == 3) or 0 in images.shape:
        raise DataError(
            f"{where} are {images.dtype} {images.shape}; give uint8 (N, H, W, 3), "
            "brightness from 0 to 255, or grey as (N, H, W)"
        )


def checked_labels(labels: NDArray[Any], count: int, where: str) -> Labels:
    """Returns labels as int64; raises DataError, beginning with `where`, unless they are 0, 1, 2, ..."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DataError(
            f"{where} are {labels.dtype} {labels.shape} for {count:,} images; give integers ({count},)"
        )
    found = np.unique(labels)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise DataError(
            f"{where} are {listed(str(label) for label in found)}; give each of two or more classes "
            "images, and number them 0, 1, 2 and so on"
        )
    return labels.astype(np.int64)


def checked_class_names(labels: Labels, given: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Returns the name of each label, its number unless given; raises DataError, beginning with `where`."""
    count = int(labels.max()) + 1
    names = tuple(map(str, range(count))) if given is None else tuple(given)
    if len(names) != count or len(set(names)) < count or not all(n and isinstance(n, str) for n in names):
        raise DataError(
            f"{where}: class names are {listed(map(repr, names))} for {count} classes; "
            "give each class a name of its own"
        )
    return names


def in_color(images: NDArray[Any]) -> Callable[[int], Pixels]:
    """Returns what reads an image (H, W, 3) of an array; grey becomes RGB, as in a file."""
    return lambda row: images[row] if images.ndim == 4 else np.repeat(images[row][..., np.newaxis], 3, axis=2)


def _array(given: Any) -> NDArray[Any]:
    """Returns an array; a tensor may lie on any device."""
    return np.asarray(given.cpu() if hasattr(given, "cpu") else given)
