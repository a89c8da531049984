"""Image files as they are named: a file, a folder or a pattern; each is found when its turn comes."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass

from pictorch.errors import DataError, unreadable
from pictorch.images import shown

# Of the formats that images.py reads.
SUFFIXES = frozenset(
    f".{name}"
    for name in ("apng", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm",
                 "tif", "tiff", "webp")
)  # fmt: skip
LARGEST_FILE_BYTES = 2**30


@dataclass(frozen=True)
class Refusal:
    """An image without an answer and why; `named` says that it was itself given, not found in a folder."""

    source: str
    error: str
    named: bool

    def to_json(self) -> dict[str, str]:
        """Returns the row as `predict --jsonl` prints it."""
        return {"source": self.source, "error": self.error}


def found_files(place: str | os.PathLike[str]) -> Iterator[str | Refusal] | None:
    """Returns the files behind a folder or a pattern, None where `place` can only be a file.

    A folder gives what has a suffix of SUFFIXES, its own files by name and then its sub-folders by name;
    hidden names and links to folders are left out, and one folder's names are in memory at a time. A
    pattern (*, ?, [...], and ** for folders at any depth) gives the files that it matches, by name. One
    that gives nothing is refused.
    """
    path = os.fspath(place)
    if os.path.isdir(path):
        return _refused_if_none(
            _below(path), path, "holds no image; give a folder with .png, .jpg or the like"
        )
    if any(mark in path for mark in "*?[") and "\0" not in path and not os.path.lexists(path):
        return _refused_if_none(
            _matches(path), path, "matches no file; check it, ** is for folders at any depth"
        )
    return None


def read_image_file(path: str) -> bytes:
    """Returns the bytes of a file; raises DataError."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise DataError(f"{shown(path)} {unreadable(path, error)}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise DataError(f"{shown(path)} has more than {LARGEST_FILE_BYTES:,} bytes; make the image smaller")
    return data


def _refused_if_none(found: Iterator[str | Refusal], path: str, reason: str) -> Iterator[str | Refusal]:
    is_empty = True
    for each in found:
        is_empty = False
        yield each
    if is_empty:
        yield Refusal(path, f"{shown(path)} {reason}", named=True)


def _below(top: str) -> Iterator[str | Refusal]:
    pending = [top]
    while pending:
        inside = pending.pop()
        files, folders = [], []
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif os.path.splitext(entry.name)[1].casefold() in SUFFIXES:
                        files.append(entry.name)
        except OSError as error:
            yield Refusal(inside, f"{shown(inside)} {unreadable(inside, error)}", named=inside == top)
        for name in sorted(files):
            yield _regular(os.path.join(inside, name))
        pending += [os.path.join(inside, name) for name in sorted(folders, reverse=True)]


def _matches(pattern: str) -> Iterator[str | Refusal]:
    for path in sorted(glob.iglob(pattern, recursive=True)):
        if not os.path.isdir(path):
            yield _regular(path)


def _regular(path: str) -> str | Refusal:
    """Returns the path of a regular file; a pipe would be waited for."""
    if os.path.isfile(path):
        return path
    return Refusal(path, f"{shown(path)} is no regular file; remove it or name the others", named=False)
