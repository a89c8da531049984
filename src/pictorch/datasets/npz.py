"""Images and labels in one .npz file: our own names, MedMNIST's, or those of Keras's mnist.npz."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.arrays import check_images, checked_class_names, checked_labels, in_color
from pictorch.datasets.contents import Contents, Pictures, Source
from pictorch.errors import DataError, listed, nearest
from pictorch.images import shown

# The names of images and labels in each part, of which a file has one pair.
_PAIRS = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train")),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
_CLASS_NAMES = "class_names"


def open_npz(path: Path) -> Source:
    """Returns the arrays in an .npz file as a source; raises DataError when they are looked at and wrong.

    Images are uint8 (N, H, W, 3), or grey (N, H, W); labels (N,) or (N, 1), integers from 0 on or text;
    `class_names` may give integers a name. Pickled objects are refused.
    """
    facts = path.stat()
    stamp = hashlib.sha256(
        f"npz {path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}".encode(errors="surrogateescape")
    )
    return Source(f"arrays {path}", stamp.hexdigest(), lambda: nullcontext(_contents(path)))


def _contents(path: Path) -> Contents:
    arrays = _read(path)
    found: dict[str, tuple[str, NDArray[Any], NDArray[Any]]] = {}
    for part, pairs in _PAIRS.items():
        for pair in pairs:
            if arrays.keys() & pair:
                if missing := [name for name in pair if name not in arrays]:
                    raise DataError(f"{path} lacks {missing[0]}; save images and labels of each part")
                check_images(arrays[pair[0]], f"{path}: {pair[0]}")
                found[part] = pair[1], arrays[pair[0]], _flat(arrays[pair[1]])
                break
    if "train" not in found:
        raise DataError(
            f"{path} has the arrays {listed(map(shown, arrays)) or 'none'}; "
            "call them images and labels, or train_images, train_labels, test_images and test_labels"
        )
    label_of, names = _classes(path, found["train"], arrays.get(_CLASS_NAMES))
    parts = {}
    for part, (name, images, labels) in found.items():
        strange = [str(label) for label in np.unique(labels).tolist() if label not in label_of]
        if strange or labels.shape != (len(images),):
            hints = listed(f"{shown(label)}{nearest(label, names)}" for label in strange)
            what = f"classes that training lacks ({hints})" if strange else f"labels {labels.shape}"
            raise DataError(f"{path}: {name} has {what} for {len(images):,} images; correct the labels")
        rows = [f"{path}: image {row} of {part}" for row in range(len(images))]
        known = np.array([label_of[label] for label in labels.tolist()], np.int64)
        parts[part] = Pictures(rows, known, in_color(images))
    return Contents(names, parts)


def _classes(
    path: Path, train: tuple[str, NDArray[Any], NDArray[Any]], given: NDArray[Any] | None
) -> tuple[Mapping[Any, int], tuple[str, ...]]:
    """Returns the label of each class as the file calls it, and the names in label order."""
    name, images, labels = train
    if labels.dtype.kind == "U":
        found: list[str] = np.unique(labels).tolist()
        labels = np.searchsorted(found, labels)
        given = np.array(found)
        calls: Mapping[Any, int] = {text: label for label, text in enumerate(found)}
    else:
        calls = {}
    checked = checked_labels(labels, len(images), f"{path}: {name}")
    names = checked_class_names(checked, None if given is None else _flat(given).tolist(), f"{path}")
    return calls or {label: label for label in range(len(names))}, names


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """Returns labels of shape (N, 1) as (N,), and bytes as the text that they are."""
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return np.char.decode(flat, "utf-8", "replace") if flat.dtype.kind == "S" else flat


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # np.load leaves the file open where it is damaged.
        with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:90]
        raise DataError(
            f"{path} cannot be read as .npz ({reason}); save plain arrays with np.savez"
        ) from None
