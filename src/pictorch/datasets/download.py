"""Downloads one known file from the first mirror that gives it, going on where it was cut off."""

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from io import BufferedRandom
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pictorch import durable
from pictorch.datasets.contents import Progress
from pictorch.errors import DataError, ResourceError

_TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 18
_LINES = 10
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class RemoteFile:
    """A file whose content is known, and the addresses that have it."""

    name: str
    size_bytes: int
    md5: str
    mirrors: tuple[str, ...]


class _MirrorError(Exception):
    """Why one mirror did not give the file; the next one is asked."""


def download(file: RemoteFile, folder: Path, progress: Progress, *, looked_in: Sequence[Path] = ()) -> Path:
    """Returns the path of the file in `folder`, whole and with the right MD5.

    What a cut connection left in `<name>.part` is kept and continued, here and in the next call.
    Raises DataError when it may not (PICTORCH_OFFLINE=1) or cannot be fetched, naming the places
    that were looked in and how to get it by hand; ResourceError when `folder` cannot be written.
    """
    places = ", ".join(str(place) for place in looked_in) or str(folder)
    by_hand = f"put {file.mirrors[0]} into {folder}"
    if os.environ.get("PICTORCH_OFFLINE", "") not in {"", "0"}:
        raise DataError(
            f"{file.name} is not in {places}, and PICTORCH_OFFLINE forbids a download; unset it, or {by_hand}"
        )
    target, reasons = folder / file.name, dict[str, str]()
    with _part_file(target) as part:
        for address in file.mirrors:
            try:
                _fetch(file, address, part, folder, progress)
                _check(file, part)
            except _MirrorError as error:
                reasons[urlsplit(address).netloc] = str(error)
                progress(f"{address}: {error}")
                continue
            _finish(part, target)
            return target
    if len(said := set(reasons.values())) == 1 < len(reasons):
        reasons = {f"{len(reasons)} mirrors": said.pop()}
    raise DataError(
        f"{file.name} is not in {places} and no mirror gave it "
        f"({', '.join(f'{host}: {reason}' for host, reason in reasons.items())}); "
        f"try again later, or {by_hand}"
    )


@contextmanager
def _part_file(target: Path) -> Iterator[BufferedRandom]:
    path = target.with_name(f"{target.name}.part")
    with durable.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResourceError(
                    f"another process is downloading {target}; wait for it, then run the command again"
                ) from None
            yield part


def _fetch(file: RemoteFile, address: str, part: BufferedRandom, folder: Path, progress: Progress) -> None:
    """Completes the part file from one mirror, asking again as long as each try brings something."""
    have = part.seek(0, os.SEEK_END)
    progress(
        f"downloading {file.name} ({file.size_bytes / 1e6:,.1f} MB) from {address} into {folder}"
        + (f", going on at {have / 1e6:,.1f} MB" if have else "")
    )
    while have < file.size_bytes:
        try:
            with _answer(address, have) as response:
                if response.status != _PARTIAL_CONTENT:
                    _cut(part)
                _copy(file, response, part, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != _RANGE_NOT_SATISFIABLE or have == 0:
                raise _MirrorError(f"HTTP {error.code} {error.reason}") from None
            _cut(part)
            have = 0
            continue
        except urllib.error.URLError as error:
            reason = error.reason
            raise _MirrorError(getattr(reason, "strerror", None) or str(reason)) from None
        except (http.client.HTTPException, OSError) as error:
            if part.seek(0, os.SEEK_END) <= have:
                reason = getattr(error, "strerror", None) or str(error)
                raise _MirrorError(reason or type(error).__name__) from None
        before, have = have, part.seek(0, os.SEEK_END)
        if have <= before:
            raise _MirrorError(f"ends after {have:,} of {file.size_bytes:,} bytes")


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows a mirror that sends on, but never from https to anything else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != urlsplit(req.full_url).scheme:
            raise urllib.error.HTTPError(req.full_url, code, f"sends on to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _answer(address: str, offset: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": "pictorch"})  # noqa: S310 - addresses are ours
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    opener = urllib.request.build_opener(_SameScheme)
    response: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_SECONDS)
    return response


def _copy(
    file: RemoteFile, response: http.client.HTTPResponse, part: BufferedRandom, progress: Progress
) -> None:
    have = part.seek(0, os.SEEK_END)
    while block := response.read(_BLOCK_BYTES):
        lines_before = have * _LINES // file.size_bytes
        have += len(block)
        if have > file.size_bytes:
            _cut(part)
            raise _MirrorError(f"sends more than {file.size_bytes:,} bytes")
        with durable.explained(Path(part.name)):
            part.write(block)
        if have * _LINES // file.size_bytes > lines_before:
            progress(f"{file.name}: {have / 1e6:,.1f} of {file.size_bytes / 1e6:,.1f} MB")


def _check(file: RemoteFile, part: BufferedRandom) -> None:
    part.seek(0)
    md5 = hashlib.file_digest(part, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != file.md5:
        _cut(part)
        raise _MirrorError("sends another file, whose md5 differs")


def _cut(part: BufferedRandom) -> None:
    part.truncate(0)


def _finish(part: BufferedRandom, target: Path) -> None:
    part.flush()
    os.fsync(part.fileno())
    os.replace(part.name, target)
