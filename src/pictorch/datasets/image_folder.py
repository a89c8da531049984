"""Image folders, on the disk or in a zip: listed at once, read on demand, never unpacked to the disk.

A zip may wrap the layout in one more folder.
"""

import hashlib
import os
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from pictorch.datasets.contents import Contents, Source
from pictorch.datasets.layout import Listing, arrange, is_hidden, unwrapped
from pictorch.errors import DataError, unreadable
from pictorch.images import shown

_LARGEST_FILE_BYTES = 2**30


def open_folder(root: Path) -> Source:
    """Returns the image folder at `root` as a source; raises DataError where it cannot be listed."""
    listing = Listing(str(root))
    digest = hashlib.sha256(f"folder {root.resolve()}\n".encode(errors="surrogateescape"))
    try:
        for path, facts in sorted(_scan(root, listing)):
            digest.update(f"{path}\0{facts[0]}\0{facts[1]}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise DataError(f"{error.filename} {unreadable(error.filename, error)}") from None
    digest.update("\0".join(sorted([*listing.folders, *listing.odd])).encode(errors="surrogateescape"))

    def read(path: str) -> bytes:
        return read_file(root / path)

    def opened() -> AbstractContextManager[Contents]:
        return nullcontext(arrange(listing, read))

    return Source(f"image folder {root}", digest.hexdigest(), opened)


def open_zip(path: Path) -> Source:
    """Returns the images in a zip as a source; raises DataError when they are looked at and damaged."""
    facts = path.stat()
    stamp = hashlib.sha256(
        f"zip {path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}".encode(errors="surrogateescape")
    )
    return Source(f"zip {path}", stamp.hexdigest(), lambda: _opened_zip(path))


def _scan(root: Path, listing: Listing) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields path, size and time of each file while it fills the listing; links to folders are odd."""
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(root / inside) as entries:
            for entry in entries:
                path = inside + entry.name
                if is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    listing.folders.append(path)
                    pending.append(f"{path}/")
                elif entry.is_file():
                    facts = entry.stat()
                    listing.files.append(path)
                    yield path, (facts.st_size, facts.st_mtime_ns)
                else:
                    listing.odd.append(path)


def read_file(path: Path) -> bytes:
    """Returns the bytes of a regular file; raises DataError, without its name, where that cannot be."""
    try:
        # Not blocking: what was a regular file when it was listed may be a pipe by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LARGEST_FILE_BYTES:
                raise DataError(f"no regular file of at most {_LARGEST_FILE_BYTES:,} bytes; make it smaller")
            return file.read()
    except OSError as error:
        raise DataError(unreadable(path, error)) from None


@contextmanager
def _opened_zip(path: Path) -> Iterator[Contents]:
    listing = Listing(str(path))
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile can raise anything over a damaged archive
        raise DataError(f"{path}: damaged or truncated zip ({error}); copy it again") from None
    with archive:
        members = _list_zip(archive, listing)
        lock = threading.Lock()

        def read(name: str) -> bytes:
            member = members[name]
            if member.file_size > _LARGEST_FILE_BYTES:
                raise DataError(f"more than {_LARGEST_FILE_BYTES:,} bytes; make it smaller")
            try:
                with lock:
                    return archive.read(member)
            except Exception as error:  # as above
                reason = " ".join(str(error).split())[:60]
                raise DataError(f"damaged in the zip ({reason}); copy the zip again") from None

        if top := unwrapped(listing):
            yield arrange(listing.below(top), lambda name: read(f"{top}/{name}"))
        else:
            yield arrange(listing, read)


def _list_zip(archive: zipfile.ZipFile, listing: Listing) -> dict[str, zipfile.ZipInfo]:
    """Fills the listing and returns the members by path; a path is only ever a name here."""
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for member in archive.infolist():
        steps = [step for step in _member_name(member, listing).split("/") if step]
        if not steps or any(is_hidden(step) for step in steps):
            continue
        if member.flag_bits & 1:
            raise DataError(f"{listing.where}: encrypted ({shown(member.filename)}); decrypt it first")
        if not member.is_dir():
            members["/".join(steps)] = member
            steps.pop()
        folders.update("/".join(steps[:depth]) for depth in range(1, len(steps) + 1))
    listing.files += members
    listing.folders += sorted(folders)
    return members


def _member_name(member: zipfile.ZipInfo, listing: Listing) -> str:
    """Returns the name in UTF-8 where it is that, for macOS writes it without the flag that says so.

    Else in GB2312 where that gives Chinese, as Windows in Chinese writes it; a remark says so.
    """
    if member.flag_bits & 0x800:
        return member.filename
    raw = member.filename.encode("cp437")
    with suppress(UnicodeError):
        return raw.decode()
    with suppress(UnicodeError):
        name = raw.decode("gb2312")
        if re.fullmatch(r"[ -~\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]+", name):
            listing.remarks[:] = ["names in the zip are read as GBK, as Windows in Chinese writes them"]
            return name
    return member.filename
