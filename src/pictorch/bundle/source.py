"""Reads the files of a bundle, folder or zip, as bytes: nothing is extracted and all sizes are limited."""

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from pictorch.errors import CheckpointError, unreadable

LARGEST_BUNDLE_BYTES = 3 * 2**30
AGAIN = "copy it again, or make it again with `pictorch export RUN`"

_MOST_FILES = 32
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _MEMBER_SIGNATURE, _ZIP64_SIGNATURE = b"PK\5\6", b"PK\3\4", b"PK\6\7"
_LARGEST_DIRECTORY_BYTES = 64 * 1024
_ENCRYPTED = 1
_MEMBER_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


class BundleSource(Protocol):
    """Where the files of a bundle come from."""

    def names(self) -> set[str]:
        """Returns the names of everything that lies there."""

    def read(self, name: str, limit: int) -> bytes:
        """Returns a file's bytes, one more than `limit` at most; raises CheckpointError."""


class FolderSource:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        """Returns the names of everything in the folder, folders too."""
        try:
            return {entry.name for entry in self._path.iterdir()}
        except OSError as error:
            raise CheckpointError(f"{self._path} {unreadable(self._path, error)}") from None

    def read(self, name: str, limit: int) -> bytes:
        """Returns a file's bytes, one more than `limit` at most; raises CheckpointError."""
        path = self._path / name
        if not path.is_file():
            raise CheckpointError(f"{self._path} is damaged ({name} is not a file); {AGAIN}")
        try:
            with path.open("rb") as file:
                return file.read(limit + 1)
        except OSError as error:
            raise CheckpointError(f"{path} {unreadable(path, error)}") from None


class ZipSource:
    """The members of a zip that is held in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_BUNDLE_BYTES + 1)
        except OSError as error:
            raise CheckpointError(f"{path} {unreadable(path, error)}") from None
        if len(data) > LARGEST_BUNDLE_BYTES:
            raise self._refusal(f"it has more than {LARGEST_BUNDLE_BYTES:,} bytes")
        self._check_ends(data)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise self._refusal(str(error)) from None
        self._members = self._checked_members()

    def names(self) -> set[str]:
        """Returns the names of the members."""
        return set(self._members)

    def read(self, name: str, limit: int) -> bytes:
        """Returns a member's bytes, one more than `limit` at most; raises CheckpointError."""
        try:
            with self._zip.open(self._members[name]) as member:
                return member.read(limit + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
        ) as error:
            raise CheckpointError(f"{self._path} is damaged ({name}: {error}); {AGAIN}") from None

    def _check_ends(self, data: bytes) -> None:
        """Python's zipfile reads any directory of any size and skips what stands before and after."""
        if not data.startswith(_MEMBER_SIGNATURE):
            raise self._refusal("it does not begin as a zip")
        signature, _, _, _, _, directory_bytes, _, comment_bytes = (
            _END_RECORD.unpack(data[-_END_RECORD.size :])
            if len(data) > 2 * _END_RECORD.size
            else (b"", 0, 0, 0, 0, 0, 0, 0)
        )
        if signature != _END_SIGNATURE or comment_bytes:
            raise self._refusal("it is cut off or has something behind its end")
        if directory_bytes > _LARGEST_DIRECTORY_BYTES or data[-42:-38] == _ZIP64_SIGNATURE:
            raise self._refusal("its list of files is too large")

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        listed = self._zip.infolist()
        if len(listed) > _MOST_FILES:
            raise self._refusal(f"it holds more than {_MOST_FILES} files")
        for member in listed:
            if not _PLAIN_NAME.fullmatch(member.filename):
                raise self._refusal(f"{member.filename[:80]!r} is not the name of a bundle's file")
            if member.filename in members:
                raise self._refusal(f"{member.filename} is there twice")
            if member.flag_bits & _ENCRYPTED or member.compress_type not in _MEMBER_METHODS:
                raise self._refusal(f"{member.filename} is encrypted or packed in an unusual way")
            members[member.filename] = member
        return members

    def _refusal(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self._path} is not a bundle that can be read ({reason}); {AGAIN}")


def bundle_source(path: Path) -> BundleSource:
    """Returns the files behind `path`, a folder or a zip; raises CheckpointError."""
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return ZipSource(path)
    raise CheckpointError(
        f"there is no bundle at {path}; give the folder or zip that `pictorch export RUN` wrote"
    )


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Returns a zip of the files, stored and with one fixed date: equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, _ZIP_DATE)
            member.create_system = 3
            member.external_attr = 0o100644 << 16
            archive.writestr(member, files[name])
    return buffer.getvalue()
