"""Data sources: by name from one table, or by path, whatever of the known kinds lies there."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from pictorch.datasets.arrays import ARRAYS, SourceRef, array_source
from pictorch.datasets.cifar import (
    CIFAR100,
    CLASSES,
    find_batches,
    find_cifar10,
    find_cifar100,
    locate_cifar10,
    locate_cifar100,
    open_archive,
)
from pictorch.datasets.contents import Contents, Progress, Source
from pictorch.datasets.digits import open_digits
from pictorch.datasets.idx import (
    FASHION_MNIST,
    MNIST,
    find_fashion_mnist,
    find_idx_files,
    find_mnist,
    locate_fashion_mnist,
    locate_mnist,
)
from pictorch.datasets.image_folder import open_folder, open_zip
from pictorch.datasets.joined import joined
from pictorch.datasets.lists import LIST_ENDINGS, open_list
from pictorch.datasets.npz import open_npz
from pictorch.errors import DataError, unknown, unreadable
from pictorch.recipe import DataSection

SOURCES: dict[str, Callable[[Progress], Source]] = {
    "cifar10": find_cifar10,
    "cifar100": find_cifar100,
    "digits": open_digits,
    "fashion_mnist": find_fashion_mnist,
    "mnist": find_mnist,
}
_LOCATED: dict[str, Callable[[], Source | None]] = {
    "cifar10": locate_cifar10,
    "cifar100": locate_cifar100,
    "fashion_mnist": locate_fashion_mnist,
    "mnist": locate_mnist,
}


def find_sources(data: DataSection, progress: Progress, given: SourceRef | None = None) -> Source:
    """Returns the source that a recipe names: one, or two that are joined; or `given` in their place.

    Raises DataError as find_source does.
    """
    if given is not None and not isinstance(given, str | Path):
        return array_source(given)

    root = data.root if given is None else _root_now(data, str(given))

    def find(source: str) -> Source:
        return find_source(source, progress, root=root, on_bad=data.on_bad)

    if given is not None or data.test is None:
        return find(data.training_source if given is None else str(given))
    return joined(find(data.training_source), find(data.test))


def _root_now(data: DataSection, given: str) -> str | None:
    """Returns the recipe's root where it still is, else where it would be if it moved with the list."""
    if data.root is None or os.path.isdir(os.path.expanduser(data.root)):
        return data.root
    way = os.path.relpath(data.root, os.path.dirname(data.training_source))
    moved = os.path.join(os.path.dirname(os.path.expanduser(given)), way)
    return moved if os.path.isdir(moved) else None


def find_source(source: str, progress: Progress, *, root: str | None = None, on_bad: str = "stop") -> Source:
    """Returns the source behind a name or a path; raises DataError when there is none.

    Only a name may be downloaded, and `progress` is told before. The relative paths of a list start from
    `root`, its own folder where that is None; with `on_bad` 'skip' its wrong lines are left out.
    """
    if source in SOURCES:
        return SOURCES[source](progress)
    if source == ARRAYS:
        raise DataError(
            f"data.source: the images ({source}) were given in Python, and a run keeps none; give them "
            "again, as in pictorch.evaluate(run, data=(images, labels)), or in files with --data"
        )
    path = Path(source).expanduser()
    if source and path.is_dir():  # '' would be the folder that one stands in
        return _open_directory(path)
    if path.is_file():
        return _open_file(path, root, on_bad)
    if source and path.exists():
        raise DataError(f"{source} is neither a folder nor a regular file; give one of the two")
    if "/" not in source and not path.suffix:
        raise DataError(f"{unknown('data source', source, SOURCES)}; or give a path that exists")
    raise DataError(f"{source} does not exist; give a path that does, or a name: {', '.join(SOURCES)}")


def locate_source(name: str) -> Source | None:
    """Returns the source of a known name where it lies on this machine, None where it does not.

    Nothing is downloaded or decoded. Raises DataError where only a part of it lies there.
    """
    if name in _LOCATED:
        return _LOCATED[name]()
    return SOURCES[name](lambda line: None) if find_spec("sklearn") else None


def fitting_recipe(source: Source, contents: Contents) -> str:
    """Returns the packaged recipe to begin with on this source."""
    names = contents.class_names
    # Photographs may have numbers for names too, and the recipe takes them in full size.
    if names == MNIST.class_names and source.origin.startswith(("digits", MNIST.title, "arrays")):
        return "digits"
    is_cifar100 = len(names) == CIFAR100.num_classes and names[:2] == ("apple", "aquarium_fish")
    return "cifar10-cnn" if is_cifar100 or names in (CLASSES, FASHION_MNIST.class_names) else "folder-small"


def _open_directory(path: Path) -> Source:
    return find_batches(path) or find_idx_files(path) or open_folder(path)


def _open_file(path: Path, root: str | None, on_bad: str) -> Source:
    try:
        if path.suffix.casefold() == ".npz":
            return open_npz(path)
        if path.suffix.casefold() == ".zip" or zipfile.is_zipfile(path):
            return open_zip(path)
        if path.suffix.casefold() in LIST_ENDINGS:
            return open_list(path, root, on_bad)
        if "-ubyte" in path.name and (found := find_idx_files(path.parent)):
            return found
        if ".tar" in path.suffixes or path.suffix in {".tgz", ".gz"} or tarfile.is_tarfile(path):
            return open_archive(path)
    except OSError as error:
        raise DataError(f"{path} {unreadable(path, error)}") from None
    raise DataError(
        f"{path} is neither a zip of images nor a list, an .npz file or CIFAR's python archive; "
        "give a folder or a zip"
    )
