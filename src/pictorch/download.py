"""Downloads one known file from the first mirror that gives it, going on where it was cut off."""

import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from io import BufferedIOBase, BufferedRandom
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pictorch import durable
from pictorch.errors import DataError, ResourceError, UserError

_TIMEOUT_SECONDS = 30.0
_BLOCK_BYTES = 1 << 18
_LINES = 10
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class RemoteFile:
    """A file whose content is known, and the addresses that have it.

    `digest` is its MD5 or SHA-256, or how that begins, in hexadecimal digits. Where `size_bytes` is None
    the server says it. `refusal` is the kind of error that says that the file cannot be had.
    """

    name: str
    mirrors: tuple[str, ...]
    digest: str
    algorithm: str = "md5"
    size_bytes: int | None = None
    refusal: type[UserError] = DataError

    def digest_of(self, content: BufferedIOBase) -> str:
        """Returns the digits of the content that would be `digest` if it were this file."""
        content.seek(0)
        computed = hashlib.file_digest(content, lambda: hashlib.new(self.algorithm, usedforsecurity=False))
        return computed.hexdigest()[: len(self.digest)]


class _MirrorError(Exception):
    """Why one mirror did not give the file; the next one is asked."""


def download(
    file: RemoteFile,
    folder: Path,
    progress: Callable[[str], None],
    *,
    looked_in: Sequence[Path] = (),
) -> Path:
    """Returns the path of the file in `folder`, whole and with the right digest.

    What a cut connection left in `<name>.part` is kept and continued, here and in the next call.
    Raises the file's refusal when it may not (PICTORCH_OFFLINE=1) or cannot be fetched, naming the
    places that were looked in and how to get it by hand; ResourceError when `folder` cannot be written.
    """
    places = ", ".join(str(place) for place in looked_in) or str(folder)
    by_hand = f"put {file.mirrors[0]} into {folder}"
    if os.environ.get("PICTORCH_OFFLINE", "") not in {"", "0"}:
        raise file.refusal(
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
    raise file.refusal(
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


def _fetch(
    file: RemoteFile, address: str, part: BufferedRandom, folder: Path, progress: Callable[[str], None]
) -> None:
    """Completes the part file from one mirror, asking again as long as each try brings something."""
    have, size = part.seek(0, os.SEEK_END), file.size_bytes
    if size is not None:
        progress(_opening_line(file.name, size, address, folder, have))
    while size is None or have < size:
        try:
            with _answer(address, have) as response:
                if response.status != _PARTIAL_CONTENT:
                    _cut(part)
                if size is None:
                    kept = part.seek(0, os.SEEK_END)
                    size = _whole_size(response, kept)
                    progress(_opening_line(file.name, size, address, folder, kept))
                _copy(file.name, size, response, part, progress)
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
        if size is None or have >= size:
            return  # a server that says no size has sent all when it ends
        if have <= before:
            raise _MirrorError(f"ends after {have:,} of {size:,} bytes")


def _whole_size(response: http.client.HTTPResponse, have: int) -> int | None:
    """Returns the size that the server says the whole file has, None where it says none."""
    total = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if total:
        return int(total[1])
    left = response.headers.get("Content-Length", "")
    return have + int(left) if left.isdecimal() else None


def _opening_line(name: str, size: int | None, address: str, folder: Path, have: int) -> str:
    megabytes = "size not said" if size is None else f"{size / 1e6:,.1f} MB"
    went_on = f", going on at {have / 1e6:,.1f} MB" if have else ""
    return f"downloading {name} ({megabytes}) from {address} into {folder}{went_on}"


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
    name: str,
    size: int | None,
    response: http.client.HTTPResponse,
    part: BufferedRandom,
    progress: Callable[[str], None],
) -> None:
    have = part.seek(0, os.SEEK_END)
    while block := response.read(_BLOCK_BYTES):
        before, have = have, have + len(block)
        if size is not None and have > size:
            _cut(part)
            raise _MirrorError(f"sends more than {size:,} bytes")
        with durable.explained(Path(part.name)):
            part.write(block)
        if size is not None and have * _LINES // size > before * _LINES // size:
            progress(f"{name}: {have / 1e6:,.1f} of {size / 1e6:,.1f} MB")


def _check(file: RemoteFile, part: BufferedRandom) -> None:
    if file.digest_of(part) != file.digest:
        _cut(part)
        raise _MirrorError(f"sends another file, whose {file.algorithm} differs")


def _cut(part: BufferedRandom) -> None:
    part.truncate(0)


def _finish(part: BufferedRandom, target: Path) -> None:
    part.flush()
    os.fsync(part.fileno())
    os.replace(part.name, target)
