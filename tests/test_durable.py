"""Durable writing: files and folders, what is synced when, and how damage is noticed.

Faults and kills at every operation are in test_durable_faults.py, leftovers in
test_durable_leftovers.py.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pictorch import durable
from pictorch.errors import CheckpointError, ResourceError
from sealed_folders import NEW, OLD, fill, names, newest, put

# --- what reaches the disk, and in which order ----------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int | str]:
    """The inodes that are synced and the renames, as they come."""
    events: list[int | str] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}

    def fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        real["fsync"](descriptor)

    def renaming(name: str) -> Callable[[Path, Path], None]:
        def rename(source: Path, goal: Path) -> None:
            events.append("rename")
            real[name](source, goal)

        return rename

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renaming("rename"))
    monkeypatch.setattr(os, "replace", renaming("replace"))
    return events


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_a_folder_is_synced_before_it_gets_its_name(place: Path, synced: list[int | str]) -> None:
    target = place / "last"
    put(target, OLD)
    before, after = synced[: synced.index("rename")], synced[synced.index("rename") + 1 :]
    assert set(before) == {inode(path) for path in (target, *target.rglob("*"))}
    assert before[-2:] == [inode(target / "manifest.json"), inode(target)]
    assert after == [inode(place)]


def test_a_file_is_synced_before_it_gets_its_name(place: Path, synced: list[int | str]) -> None:
    durable.write_bytes(place / "run.json", b"{}")
    assert synced == [inode(place / "run.json"), "rename", inode(place)]


def test_lines_and_cuts_are_synced(place: Path, synced: list[int | str]) -> None:
    durable.append_line(place / "lines", "one")
    assert synced == [inode(place / "lines")]
    durable.truncate(place / "lines", 2)
    assert synced == 2 * [inode(place / "lines")]


def test_a_line_may_wait_for_the_next_sync(place: Path, synced: list[int | str]) -> None:
    assert durable.synced_size(place / "lines") == 0
    durable.append_line(place / "lines", "zwei é", synced=False)
    assert synced == []
    assert durable.synced_size(place / "lines") == 8
    assert synced == [inode(place / "lines")]


# --- files ----------------------------------------------------------------------------------------


def test_write_bytes_makes_its_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    durable.write_bytes(path, b"one")
    durable.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["file"]


def test_write_json_is_read_back_and_refuses_what_json_has_not(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    value = {"name": "鳥 é", "numbers": [1, 0.1, 1e-300], "path": "not UTF-8: \udcff", "none": None}
    durable.write_json(path, value)
    assert json.loads(path.read_bytes()) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        durable.write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_bytes()) == value


def test_append_line_adds_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    durable.append_line(path, "one")
    durable.append_line(path, "zwei é")
    assert path.read_bytes() == "one\nzwei é\n".encode()


def test_truncate(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    durable.truncate(path, 0)
    assert not path.exists()
    path.write_bytes(b"one\ntwo\n")
    durable.truncate(path, 8)
    assert path.read_bytes() == b"one\ntwo\n"
    durable.truncate(path, 4)
    assert path.read_bytes() == b"one\n"
    with pytest.raises(CheckpointError, match=r"lines is shorter than its checkpoint says"):
        durable.truncate(path, 5)
    durable.truncate(path, 0)
    assert path.read_bytes() == b""
    path.unlink()
    with pytest.raises(CheckpointError, match=r"lines is shorter"):
        durable.truncate(path, 1)


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert durable.file_sha256(tmp_path / "file") == expected


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_holds_its_files_and_a_manifest(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "last"
    put(target, OLD, step=7)
    manifest = durable.verify_folder(target)
    assert manifest["step"] == 7
    assert manifest["files"]["inner/state"]["size"] == len(b"old state")
    assert manifest["files"]["weights"]["sha256"] == durable.file_sha256(target / "weights")
    assert names(target) == ["inner", "manifest.json", "weights"]
    assert durable.read_manifest(target) == manifest


def test_the_manifest_is_read_on_leaving_and_may_have_another_name(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {}
    with durable.new_folder(tmp_path / "bundle", manifest, manifest_name="bundle.json") as folder:
        fill(folder, NEW)
        manifest["late"] = True
    found = durable.verify_folder(tmp_path / "bundle", manifest_name="bundle.json")
    assert found == {"late": True, "files": found["files"], "manifest_sha256": found["manifest_sha256"]}
    assert found["files"].keys() == NEW.keys()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        durable.verify_folder(tmp_path / "bundle")


def test_the_one_before_stays_or_goes(place: Path) -> None:
    target = place / "last"
    put(target, OLD)
    put(target, NEW)
    assert names(place) == ["last"]
    put(target, OLD, keep_previous=True)
    assert newest(place / "last.previous") == (NEW, None)
    put(target, NEW, keep_previous=True)
    assert newest(place / "last.previous") == (OLD, None)
    put(target, OLD)
    assert names(place) == ["last"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_body_that_fails_leaves_what_stood_there(place: Path, kind: type[BaseException]) -> None:
    put(place / "last", OLD)
    with pytest.raises(kind), durable.new_folder(place / "last", {}) as folder:  # noqa: PT012
        fill(folder, NEW)
        raise kind
    assert newest(place / "last") == (OLD, None)
    assert names(place) == ["last"]


def test_a_users_error_in_the_body_is_passed_on(place: Path) -> None:
    with pytest.raises(CheckpointError, match="as it is"), durable.new_folder(place / "last", {}):
        raise CheckpointError("as it is")
    assert names(place) == []


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    target = tmp_path / "last"
    put(target, {"weights": b"four", "inner/state": b"and", "empty": b""}, step=300)
    whole = durable.verify_folder(target)
    for name in ("weights", "inner/state"):
        for _ in flipped(target / name):
            with pytest.raises(CheckpointError, match=f"sha256 of {name} differs"):
                durable.verify_folder(target)
    for _ in flipped(target / "manifest.json"):
        with pytest.raises(CheckpointError, match=r"is damaged \(manifest\.json: "):
            durable.verify_folder(target)
    assert durable.verify_folder(target) == whole


def flipped(path: Path) -> Iterator[None]:
    """Flips each bit of a file in turn, in place, and puts it back."""
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(file.read()):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), position)
                yield
            os.pwrite(file.fileno(), bytes([byte]), position)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    target = tmp_path / "last"
    put(target, {"weights": b"four", "inner/state": b"and"})
    for path in (target / "weights", target / "inner/state", target / "manifest.json"):
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            with pytest.raises(CheckpointError):
                durable.verify_folder(target)
        path.write_bytes(content + b"x")
        with pytest.raises(CheckpointError):
            durable.verify_folder(target)
        path.unlink()
        with pytest.raises(CheckpointError, match=f"{path.name} is missing"):
            durable.verify_folder(target)
        path.write_bytes(content)
    durable.verify_folder(target)


def test_a_file_too_many_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "last", OLD)
    (tmp_path / "last" / "inner" / "guest").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"inner/guest does not belong there"):
        durable.verify_folder(tmp_path / "last")


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"files": []}', b"\xff\xfe", b'"files"'])
def test_a_manifest_that_lists_no_files_is_refused(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(CheckpointError, match=r"is damaged \(manifest\.json: "):
        durable.read_manifest(tmp_path)


def test_a_file_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "last", OLD, keep_previous=True)
    put(tmp_path / "last", NEW, keep_previous=True)

    real_sha256 = durable.file_sha256

    def sha256(path: Path) -> str:
        if path == tmp_path / "last" / "state":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_sha256(path)

    monkeypatch.setattr(durable, "file_sha256", sha256)
    folder, _, complaint = durable.newest_folder(tmp_path / "last")
    assert folder.name == "last.previous"
    assert (
        complaint == f"{tmp_path / 'last'} cannot be read (Input/output error); check the path and the disk"
    )


def test_without_hashes_only_names_and_sizes_count(tmp_path: Path) -> None:
    put(tmp_path / "store", NEW)
    (tmp_path / "store" / "state").write_bytes(b"NEW STATE")
    durable.verify_folder(tmp_path / "store", hashes=False)
    with pytest.raises(CheckpointError, match=r"sha256 of state differs"):
        durable.verify_folder(tmp_path / "store")
    (tmp_path / "store" / "state").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"size of state differs"):
        durable.verify_folder(tmp_path / "store", hashes=False)


def test_the_newest_whole_folder_is_found(place: Path) -> None:
    target = place / "last"
    with pytest.raises(CheckpointError, match=f"there is no checkpoint at {target}"):
        durable.newest_folder(target)
    assert not durable.exists(target)
    put(target, OLD, keep_previous=True)
    put(target, NEW, keep_previous=True)
    assert newest(target) == (NEW, None)
    (target / "state").write_bytes(b"damaged")
    assert newest(target) == (OLD, f"{target} is damaged (size of state differs)")
    shutil.rmtree(target)
    assert newest(target) == (OLD, None)
    assert durable.exists(target)
    (place / "last.previous" / "weights").unlink()
    with pytest.raises(CheckpointError, match=r"last\.previous is damaged \(weights is missing\)"):
        durable.newest_folder(target)


def test_a_step_back_takes_the_one_before(place: Path) -> None:
    for files in (OLD, NEW):
        put(place / "best", files, keep_previous=True)
    durable.step_back(place / "best")
    assert newest(place / "best") == (OLD, None)
    durable.step_back(place / "best")
    assert names(place) == [], "there was none before it"


def test_a_removed_folder_is_gone(place: Path) -> None:
    put(place / "one", OLD)
    put(place / "other", OLD)
    for _ in range(2):
        durable.remove_folder(place / "one")
    durable.sweep(place)
    assert names(place) == ["other"]


def test_set_aside_keeps_a_damaged_folder_from_displacing_a_whole_one(place: Path) -> None:
    target = place / "last"
    put(target, OLD, keep_previous=True)
    put(target, NEW, keep_previous=True)
    (target / "state").unlink()
    assert durable.set_aside(target) == place / "last.damaged"
    assert names(place) == ["last.damaged", "last.previous"]
    put(target, NEW, keep_previous=True)
    assert newest(place / "last.previous") == (OLD, None)
    (target / "state").unlink()
    durable.set_aside(target)
    assert names(place) == ["last.damaged", "last.previous"]
    assert names(place / "last.damaged") == ["manifest.json", "weights"]


# --- what the disk refuses ------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_really_full_device() -> None:
    with pytest.raises(ResourceError, match=r"^no space left while writing /dev/full \([\d,]+ MB free\); "):
        durable.append_line(Path("/dev/full"), "a line")


def test_a_path_that_is_no_utf8() -> None:
    path = Path("o\udcff")
    with (
        pytest.raises(ResourceError, match=r"cannot write o.* \(that is no UTF-8\); "),
        durable.explained(path),
    ):
        str(path).encode()


def test_free_space_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    with pytest.raises(ResourceError, match="free space unknown"), durable.explained(tmp_path / "x"):
        raise OSError(errno.EDQUOT, "quota exceeded")


@pytest.mark.parametrize(
    "act",
    [
        lambda path: durable.write_bytes(path, b""),
        lambda path: durable.write_json(path, {}),
        lambda path: durable.append_line(path, ""),
        lambda path: put(path, NEW),
        lambda path: durable.set_aside(path),
    ],
    ids=["write_bytes", "write_json", "append_line", "new_folder", "set_aside"],
)
def test_a_path_below_a_regular_file_is_refused(tmp_path: Path, act: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    path = tmp_path / "file" / "below"
    with pytest.raises(ResourceError) as caught:
        act(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"cannot write {path} (")
    assert names(tmp_path) == ["file"]
