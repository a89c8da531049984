"""What a predictor takes as images: files, folders, patterns, lists, bytes, file objects, PIL images, arrays.

A file of a folder or a list is found when its turn comes, so that there may be any number of them.
"""

import codecs
import csv
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch.errors import DataError, unreadable
from pictorch.images import InputSpec, decode_image, fit_image, fit_pixels, shown

ImageInput = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]

# Of the formats that images.py reads.
SUFFIXES = frozenset(
    f".{name}"
    for name in ("apng", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm",
                 "tif", "tiff", "webp")
)  # fmt: skip
LISTS = (".txt", ".lst", ".list", ".csv", ".tsv")
LARGEST_FILE_BYTES = 2**30
_FIRST_READ_BYTES, _LARGE_READ_BYTES = 2**16, 2**20
_NAME_AND_MORE = re.compile(
    rf"(.*(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))}))(?:\s.*)?", re.DOTALL | re.IGNORECASE
)
_PATH_COLUMNS = ("path", "source", "image", "file", "filename")
_LOOKED_AT_BYTES = 4096
_TAKEN = (
    "give a path, bytes, a file object, a PIL image or a uint8 array (height, width, 3), (height, width, 4) "
    "or (height, width)"
)


@dataclass(frozen=True)
class Refusal:
    """An image without an answer and why; `named` says that it was itself given, not found in a folder."""

    source: str
    error: str
    named: bool

    def to_json(self) -> dict[str, str]:
        """Returns the row as `predict --jsonl` prints it."""
        return {"source": self.source, "error": self.error}


@dataclass(frozen=True)
class Given:
    """An image whose turn has come; `named` as in Refusal."""

    image: ImageInput | Refusal
    name: str
    named: bool

    def fitted(self, spec: InputSpec) -> NDArray[np.uint8] | Refusal:
        """Returns the image as uint8 (stored_size, stored_size, 3), or why there is none."""
        if isinstance(self.image, Refusal):
            return self.image
        try:
            if not self.named:
                _check_is_regular(self.name)
            return _pixels(self.image, spec, self.name)
        except DataError as error:
            return Refusal(self.name, str(error), self.named)


def is_one_image(images: Any) -> bool:
    """Returns whether this is one image, which iterated over would be many: its bytes, or its rows."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (3, 4))
    is_path_or_bytes = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    return is_path_or_bytes or isinstance(images, Image.Image) or hasattr(images, "read")


def given_images(images: Iterable[ImageInput]) -> Iterator[Given]:
    """Yields each image with its name: its path, or its place in the list."""
    for place, image in enumerate(images):
        if not isinstance(image, str | os.PathLike):
            yield Given(image, f"image {place}", named=True)
        elif (files := found_files(image)) is None:
            yield Given(image, os.fspath(image), named=True)
        else:
            for file in files:
                yield Given(file, file if isinstance(file, str) else file.source, named=False)


def given_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Given]:
    """Yields the same of paths; raises DataError for one that gives no image, at its turn at the latest.

    A path that is not there and has no image's name can only be meant as a folder or a list.
    """
    sources = [os.fspath(path) for path in paths]
    for source in sources:
        is_image = os.path.splitext(source)[1].casefold() in SUFFIXES
        if not is_image and not os.path.lexists(source) and found_files(source) is None:
            raise DataError(f"{shown(source)} is not there; check the path")
    return map(_checked_source, given_images(sources))


def _checked_source(given: Given) -> Given:
    if isinstance(given.image, Refusal) and given.image.named:
        raise DataError(given.image.error)
    return given


def _pixels(image: Any, spec: InputSpec, name: str) -> NDArray[np.uint8]:
    """Returns the image fitted to uint8 (stored_size, stored_size, 3); raises DataError."""
    size, fit = spec.stored_size, spec.fit
    if isinstance(image, str | os.PathLike):
        image = read_image_file(os.fspath(image))
    elif hasattr(image, "read"):
        image = _whole(image, name)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), size, name, fit)
    if isinstance(image, Image.Image):
        return fit_image(image, size, name, fit)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        match image.shape:
            case (_, _, 3):
                return fit_pixels(image, size, fit).pixels
            case (_, _) | (_, _, 4):
                return fit_image(Image.fromarray(image), size, name, fit)
    raise DataError(f"{name} is {_in_words(image)}; {_TAKEN}")


def _whole(file: Any, name: str) -> bytes:
    """Returns all that a file object holds, from its start where it can go back."""
    try:
        if file.seekable():
            file.seek(0)
        data = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{name} is a file object that cannot be read ({error}); open it again") from None
    if isinstance(data, bytes):
        return data
    raise DataError(f"{name} is a file object of text; open it in binary, with open(path, 'rb')")


def _in_words(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} and shape {image.shape}"
    return f"a {type(image).__name__}"


def found_files(place: str | os.PathLike[str]) -> Iterator[str | Refusal] | None:
    """Returns the files behind a folder, a pattern or a list, None where `place` can only be an image.

    A folder gives what has a suffix of SUFFIXES, its own files by name and then its sub-folders by name;
    hidden names and links to folders are left out, and one folder's names are in memory at a time. A
    pattern (*, ?, [...], and ** for folders at any depth) gives the files that it matches, by name. A
    text file that ends as LISTS do gives the path in each line, or in a column of its table, relative to its
    own folder; what follows the path in a line, as a label, is left out. One that gives nothing is refused.
    """
    path = os.fspath(place)
    if os.path.isdir(path):
        return _refused_if_none(_below(path), path, "holds no image; give a folder of .png or .jpg")
    if any(mark in path for mark in "*?[") and "\0" not in path and not os.path.lexists(path):
        return _refused_if_none(_matches(path), path, "matches no file; check it (** is any folders)")
    if path.casefold().endswith(LISTS) and (encoding := _encoding_of_text(path)) is not None:
        return _refused_if_none(_listed(path, encoding), path, "names no image; write a path into each line")
    return None


def read_image_file(path: str) -> bytes:
    """Returns the bytes of a file; raises DataError."""
    parts: list[bytes] = []
    read_bytes = 0
    try:
        # Calls of the system alone: a file object around them takes longer than a small image's read.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while part := os.read(descriptor, _LARGE_READ_BYTES if parts else _FIRST_READ_BYTES):
                parts.append(part)
                read_bytes += len(part)
                if read_bytes > LARGEST_FILE_BYTES:
                    raise DataError(
                        f"{shown(path)} has more than {LARGEST_FILE_BYTES:,} bytes; make the image smaller"
                    )
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise DataError(f"{shown(path)} {unreadable(path, error)}") from None
    return b"".join(parts)


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
        files.sort()
        yield from (os.path.join(inside, name) for name in files)
        pending += [os.path.join(inside, name) for name in sorted(folders, reverse=True)]


def _matches(pattern: str) -> Iterator[str | Refusal]:
    found = {each if isinstance(each, str) else each.source: each for each in _globbed(pattern)}
    for path, each in sorted(found.items()):
        if isinstance(each, Refusal) or not os.path.isdir(path):
            yield each


def _globbed(pattern: str) -> Iterator[str | Refusal]:
    """Yields what matches; ** follows no link to a folder, since links in a circle would multiply files."""
    found = re.fullmatch(r"((?:.*?/)?)\*\*(?:/+(.*))?", pattern, re.DOTALL)
    if found is None:
        yield from glob.iglob(pattern)
        return
    before, below = found.groups()
    for top in glob.iglob(before) if glob.has_magic(before) else [before]:
        for folder in _folders(top):
            if isinstance(folder, Refusal):
                yield folder
            else:
                yield from _globbed(os.path.join(glob.escape(folder), below or "*"))


def _folders(top: str) -> Iterator[str | Refusal]:
    """Yields a folder and those below it, without hidden ones and links; of a closed one, that it is."""
    yield top
    inside: list[str] = []
    try:
        with os.scandir(top or ".") as entries:
            inside += [
                os.path.join(top, entry.name)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except PermissionError as error:
        yield Refusal(top, f"{shown(top)} {unreadable(top, error)}", named=False)
    except OSError:  # a pattern matches nothing where nothing is
        return
    for folder in inside:
        yield from _folders(folder)


def _encoding_of_text(path: str) -> str | None:
    """Returns how a text is read, which Windows writes in UTF-16; None for what is none, as an image."""
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT_BYTES)
    except (OSError, ValueError):
        return None
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None if b"\0" in start else "utf-8-sig"


def _listed(path: str, encoding: str) -> Iterator[str | Refusal]:
    folder = os.path.dirname(path)
    try:
        with open(path, encoding=encoding, errors="surrogateescape", newline="") as lines:
            for entry in _entries(lines, path.casefold()):
                yield os.path.join(folder, entry)
    except (OSError, csv.Error, UnicodeError) as error:
        yield Refusal(path, f"{shown(path)} {unreadable(path, error)}", named=True)


def _entries(lines: Iterable[str], name: str) -> Iterator[str]:
    if not name.endswith((".csv", ".tsv")):
        for line in filter(None, map(str.strip, lines)):
            found = _NAME_AND_MORE.fullmatch(line)
            yield found[1] if found else line
        return
    column = None
    for row in filter(None, csv.reader(lines, delimiter="\t" if name.endswith(".tsv") else ",")):
        if column is None:
            heads = [head.strip().casefold() for head in row]
            named = [heads.index(head) for head in _PATH_COLUMNS if head in heads]
            column = named[0] if named else 0
            if named:
                continue
        if column < len(row) and row[column]:
            yield row[column]


def _check_is_regular(path: str) -> None:
    """Raises DataError for what was found and is there, but is no regular file: a pipe would be waited for.

    It is asked when its turn comes, so that of a shard only its own files are looked at.
    """
    if not os.path.isfile(path) and os.path.lexists(path):
        raise DataError(f"{shown(path)} is no regular file; remove it or name the others")
