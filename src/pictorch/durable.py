"""Writes what the program itself must find again, so that a kill at any instant loses nothing.

A file is written to a temporary sibling, synced, renamed, and its folder synced. A folder is
written beside its place with a manifest (size and SHA-256 of each file) as its last file, and then
renamed; the folder that stood there before becomes `<name>.previous` until the new one is in place,
or for good when asked. After a kill `newest_folder` finds the old state or the new one, never a mix
(Pillai et al., "All file systems are not created equal", OSDI 2014).

Views that can be rebuilt (TensorBoard, log.txt, report.html, downloaded parts) are not written here.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pictorch.errors import CheckpointError, ResourceError, UserError, unreadable

MANIFEST = "manifest.json"

_SELF_HASH = "manifest_sha256"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces the file at `path` by `data`; raises ResourceError and leaves the old file."""
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file to fill; on leaving, it becomes `path`, whole or not at all; raises ResourceError."""
    temporary = path.with_name(f".{path.name}.new-{os.getpid()}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces the file at `path` by `value` as indented JSON."""
    write_bytes(path, json_bytes(value))


def append_line(path: Path, line: str, *, synced: bool = True) -> None:
    """Appends one line, on the disk for good where `synced`; only the one being written can be torn."""
    with explained(path), path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        if synced:
            os.fsync(file.fileno())


def synced_size(path: Path) -> int:
    """Returns the size of a file in bytes, all of them on the disk for good now; 0 where there is none."""
    if not path.exists():
        return 0
    with explained(path), path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def truncate(path: Path, size_bytes: int) -> None:
    """Cuts a file back to its first `size_bytes` bytes; raises CheckpointError when it is shorter."""
    present_bytes = path.stat().st_size if path.exists() else 0
    if present_bytes < size_bytes:
        raise CheckpointError(
            f"{path} is shorter than its checkpoint says: it was changed by hand; put it back from a copy, "
            "or train again into a new --out"
        )
    if present_bytes == size_bytes:
        return
    with explained(path), path.open("r+b") as file:
        file.truncate(size_bytes)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_folder(
    target: Path,
    manifest: dict[str, Any],
    *,
    manifest_name: str = MANIFEST,
    keep_previous: bool = False,
) -> Iterator[Path]:
    """Yields an empty folder to fill; on leaving, it becomes `target`, whole or not at all.

    `manifest` is read on leaving, gets the entries `files` and a hash of itself, and is written
    last. When the body or the disk fails, what stood at `target` stays and the unfinished folder
    is removed.
    """
    temporary = target.with_name(f".{target.name}.new-{os.getpid()}")
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        temporary.mkdir()
        try:
            yield temporary
            _seal(temporary, manifest, manifest_name)
            _put_in_place(temporary, target, keep_previous)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def verify_folder(folder: Path, *, manifest_name: str = MANIFEST, hashes: bool = True) -> dict[str, Any]:
    """Returns the manifest after comparing every file with it; raises CheckpointError.

    `hashes=False` compares names and sizes only, for folders too large to read on each use.
    """
    manifest = read_manifest(folder, manifest_name)
    try:
        _compare_files(folder, manifest["files"], manifest_name, hashes)
    except OSError as error:
        path = error.filename or folder
        raise CheckpointError(f"{path} {unreadable(path, error)}") from None
    return manifest


def read_manifest(folder: Path, manifest_name: str = MANIFEST) -> dict[str, Any]:
    """Returns the manifest of a folder without checking its files; raises CheckpointError."""
    try:
        return parse_manifest((folder / manifest_name).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is damaged ({manifest_name} is missing)") from None
    except OSError as error:
        path = folder / manifest_name
        raise CheckpointError(f"{path} {unreadable(path, error)}") from None
    except ValueError as error:
        raise CheckpointError(f"{folder} is damaged ({manifest_name}: {error})") from None


def seal_manifest(manifest: dict[str, Any]) -> None:
    """Adds the hash of a manifest to it, so that a change of any of its bytes shows."""
    manifest.pop(_SELF_HASH, None)
    manifest[_SELF_HASH] = hashlib.sha256(json_bytes(manifest)).hexdigest()


def parse_manifest(raw: bytes) -> dict[str, Any]:
    """Returns the manifest that was sealed and written as `raw`; raises ValueError."""
    try:
        manifest = json.loads(raw)
    except RecursionError:
        raise ValueError("it is not JSON that pictorch wrote") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError("it lists no files")
    sealed = dict(manifest)
    seal_manifest(sealed)
    if json_bytes(sealed) != raw:
        raise ValueError("its own sha256 differs")
    return manifest


def newest_folder(target: Path) -> tuple[Path, dict[str, Any], str | None]:
    """Returns (folder, manifest, complaint): `target` when it is whole, else the one before it.

    The complaint says why the newest was passed over. Raises CheckpointError when none is whole.
    """
    complaint = None
    for folder in (target, previous_of(target)):
        if not folder.exists():
            continue
        try:
            return folder, verify_folder(folder), complaint
        except CheckpointError as error:
            complaint = complaint or str(error)
    raise CheckpointError(complaint or f"there is no checkpoint at {target}")


def set_aside(target: Path) -> Path:
    """Renames a damaged folder to `<name>.damaged`, so that it cannot displace a whole one."""
    damaged = _damaged(target)
    with explained(target):
        if damaged.exists():
            _remove(damaged)
        os.rename(target, damaged)
        _sync_folder(target.parent)
    return damaged


def step_back(target: Path) -> None:
    """Removes a folder and puts the one that was kept before it, if any, in its place."""
    with explained(target):
        if target.exists():
            _remove(target)
        if previous_of(target).exists():
            os.rename(previous_of(target), target)
        _sync_folder(target.parent)


def remove_folder(target: Path) -> None:
    """Removes a folder where it is there; a kill leaves it whole, or remains of it that `sweep` takes."""
    with explained(target):
        if target.exists():
            _remove(target)
            _sync_folder(target.parent)


def sweep(folder: Path) -> None:
    """Removes what processes that were killed while they removed something left in `folder`."""
    for trash in folder.glob(".*.trash-*"):
        pid = trash.name.rpartition("-")[2]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(trash, ignore_errors=True)


def size_bytes(folder: Path) -> int:
    """Returns what the files below a folder take, without those that vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def exists(target: Path) -> bool:
    """Returns whether `target`, or the folder that stood there before it, is on the disk."""
    return target.exists() or previous_of(target).exists()


def file_sha256(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what keeps the system from writing `path` into a ResourceError of one line."""
    try:
        yield
    except UserError:
        raise
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise ResourceError(
                f"no space left while writing {path} ({_free_space(path)}); "
                "what was saved before is untouched; make room and run it again, "
                "a training that has begun with --resume"
            ) from error
        reason = "that is no UTF-8" if isinstance(error, UnicodeEncodeError) else error.strerror or error
        raise ResourceError(
            f"cannot write {path} ({reason}); choose another folder or mend its rights"
        ) from error


def _compare_files(folder: Path, files: dict[str, dict[str, Any]], manifest_name: str, hashes: bool) -> None:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        manifest_name
    }
    for name in sorted(present ^ files.keys()):
        verdict = "is missing" if name in files else "does not belong there"
        raise CheckpointError(f"{folder} is damaged ({name} {verdict})")
    for name, facts in files.items():
        path = folder / name
        if path.stat().st_size != facts["size"]:
            raise CheckpointError(f"{folder} is damaged (size of {name} differs)")
        if hashes and file_sha256(path) != facts["sha256"]:
            raise CheckpointError(f"{folder} is damaged (sha256 of {name} differs)")


def _seal(folder: Path, manifest: dict[str, Any], manifest_name: str) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {}
    for path in paths:
        _sync_file(path)
        manifest["files"][path.relative_to(folder).as_posix()] = {
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
    for inner in sorted({path.parent for path in paths} - {folder}):
        _sync_folder(inner)
    seal_manifest(manifest)
    with (folder / manifest_name).open("wb") as file:
        file.write(json_bytes(manifest))
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def _put_in_place(temporary: Path, target: Path, keep_previous: bool) -> None:
    previous = previous_of(target)
    if target.exists():
        if previous.exists():
            _remove(previous)
        os.rename(target, previous)
    try:
        os.rename(temporary, target)
    except OSError:
        with suppress(OSError):
            os.rename(previous, target)
        raise
    _sync_folder(target.parent)
    if not keep_previous and previous.exists():
        _remove(previous)


def _remove(folder: Path) -> None:
    """Renames first, so that a kill while deleting leaves no half-empty folder under a known name."""
    trash = folder.with_name(f".{folder.name}.trash-{os.getpid()}")
    os.rename(folder, trash)
    shutil.rmtree(trash, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Removes what processes that were killed while they wrote `target` left beside it."""
    names = {target.name, previous_of(target).name, _damaged(target).name}
    for path in target.parent.iterdir():
        leftover = re.fullmatch(r"\.(.+)\.(?:new|trash)-(\d+)", path.name, re.DOTALL)
        if leftover and leftover[1] in names and not _is_running(int(leftover[2])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def previous_of(target: Path) -> Path:
    """Returns where the folder that stood at `target` before it is kept."""
    return target.with_name(f"{target.name}.previous")


def _damaged(target: Path) -> Path:
    return target.with_name(f"{target.name}.damaged")


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_bytes(value: Any) -> bytes:
    """Returns the one form in which pictorch writes JSON files."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="surrogatepass")  # paths need not be UTF-8; json.loads reads them back


def _free_space(path: Path) -> str:
    for folder in path.parents:
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB free"
    return "free space unknown"
