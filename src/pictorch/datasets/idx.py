"""MNIST and Fashion-MNIST in their own files of idx format, as they are or in gzip.

Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998, which describes the
format; H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747.
"""

import gzip
import hashlib
import math
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.arrays import in_color
from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.errors import DataError, listed, unreadable
from pictorch.places import data_folders, download_folder, named_folder

_PARTS = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_FILES = tuple(f"{part}-{kind}" for part in _PARTS.values() for kind in (_IMAGES, _LABELS))
_LARGEST_BYTES = 2**31  # the official ones have 47 MB
_BYTES = 8  # how idx calls unsigned bytes


@dataclass(frozen=True)
class IdxSet:
    """A data set of four files: where it lies below a folder, where it is published, its classes.

    `published` holds size and MD5 of each file with the ending .gz, in the order of _FILES.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    address: str
    published: tuple[tuple[int, str], ...]
    class_names: tuple[str, ...]


MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    folders=("MNIST/raw", "MNIST", "mnist/raw", "mnist"),
    address="https://ossci-datasets.s3.amazonaws.com/mnist/",
    published=(
        (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    class_names=tuple("0123456789"),
)
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folders=("FashionMNIST/raw", "FashionMNIST", "fashion_mnist", "fashion-mnist"),
    address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    published=(
        (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
)  # fmt: skip


def find_mnist(progress: Progress) -> Source:
    """Returns MNIST from the first place that has it, else downloads it; raises DataError."""
    return locate_mnist() or _downloaded(MNIST, progress)


def find_fashion_mnist(progress: Progress) -> Source:
    """Returns Fashion-MNIST from the first place that has it, else downloads it; raises DataError."""
    return locate_fashion_mnist() or _downloaded(FASHION_MNIST, progress)


def locate_mnist() -> Source | None:
    """Returns MNIST from the first place that has it whole, None where none has."""
    return _located(MNIST)


def locate_fashion_mnist() -> Source | None:
    """Returns Fashion-MNIST from the first place that has it whole, None where none has."""
    return _located(FASHION_MNIST)


def find_idx_files(folder: Path) -> Source | None:
    """Returns the idx files in a folder or in its `raw`; None without any, DataError for some of them.

    They are Fashion-MNIST where a name in the path says fashion, else MNIST.
    """
    for place in (folder, folder / "raw"):
        found = _files_in(place)
        if missing := [name for name in _FILES if name not in found]:
            if found:
                raise DataError(
                    f"{place} is incomplete, it lacks {listed(missing)}; add them, as they are or as .gz"
                )
            continue
        return _open(_kind_of(place), place, found)
    return None


def _kind_of(place: Path) -> IdxSet:
    names = [name.casefold() for name in place.absolute().parts[-3:]]
    return FASHION_MNIST if any("fashion" in name for name in names) else MNIST


def _files_in(folder: Path) -> dict[str, Path]:
    """Returns the files that a folder has, by the official name; one that is unpacked comes first."""
    found = {}
    for name in _FILES:
        spellings = [name, name.replace("-idx", ".idx")]
        paths = [folder / f"{spelling}{ending}" for ending in ("", ".gz") for spelling in spellings]
        if path := next((path for path in paths if path.is_file()), None):
            found[name] = path
    return found


def _located(kind: IdxSet) -> Source | None:
    named = named_folder()
    places = [named] if named is not None and _kind_of(named) is kind else []
    places += [folder / inside for folder in data_folders() for inside in kind.folders]
    for place in places:
        if len(found := _files_in(place)) == len(_FILES):
            return _open(kind, place, found)
    return None


def _downloaded(kind: IdxSet, progress: Progress) -> Source:
    from pictorch.download import RemoteFile, download

    folder = download_folder() / kind.folders[-1]
    for name, (size, md5) in zip(_FILES, kind.published, strict=True):
        if name not in _files_in(folder):
            file = RemoteFile(f"{name}.gz", (f"{kind.address}{name}.gz",), md5, size_bytes=size)
            download(file, folder, progress, looked_in=data_folders())
    return _open(kind, folder, _files_in(folder))


def _open(kind: IdxSet, folder: Path, files: dict[str, Path]) -> Source:
    digest = hashlib.sha256(f"{kind.name}\n".encode())
    for path in files.values():
        facts = path.stat()
        line = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return Source(f"{kind.title} {folder}", digest.hexdigest(), lambda: nullcontext(_contents(kind, files)))


def _contents(kind: IdxSet, files: dict[str, Path]) -> Contents:
    parts = {}
    for part, start in _PARTS.items():
        images = _read(files[f"{start}-{_IMAGES}"], dimensions=3)
        path = files[f"{start}-{_LABELS}"]
        labels = _read(path, dimensions=1).astype(np.int64)
        if len(labels) != len(images):
            raise DataError(f"{path} has {len(labels):,} labels for {len(images):,} images; copy both again")
        wrong = np.flatnonzero(labels >= len(kind.class_names))
        if len(wrong):
            raise DataError(
                f"{path}: label {labels[wrong[0]]} of image {wrong[0]} is not 0 to "
                f"{len(kind.class_names) - 1}; copy it again, or give another data set as .npz"
            )
        names = [f"{files[f'{start}-{_IMAGES}']}: image {row}" for row in range(len(images))]
        parts[part] = Pictures(names, labels, in_color(images))
    return Contents(kind.class_names, parts)


def _read(path: Path, *, dimensions: int) -> NDArray[Any]:
    """Returns the uint8 array of an idx file: big-endian sizes behind two zeros, type and dimensions."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            shape = np.frombuffer(head[4:], ">u4").tolist() if len(head) == 4 + 4 * dimensions else [0]
            count = math.prod(shape)
            if head[:4] != bytes([0, 0, _BYTES, dimensions]) or not 0 < count < _LARGEST_BYTES:
                raise DataError(
                    f"{path} is no idx file of {dimensions} dimensions (it starts with the bytes "
                    f"{head[:4].hex(' ')}); copy it again"
                )
            data = file.read(count + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or truncated gzip ({error}); copy it again") from None
    except OSError as error:
        raise DataError(f"{path} {unreadable(path, error)}") from None
    if len(data) != count:
        has = f"{len(data):,} bytes" if len(data) < count else "more bytes"
        raise DataError(f"{path} has {has} behind its head, which says {count:,}; copy it again")
    return np.frombuffer(data, np.uint8).reshape(shape)
