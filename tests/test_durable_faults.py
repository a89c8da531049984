"""Durable writing with a fault, or a kill, at every single file operation.

`FaultyDisk` stands between the module and the file system and counts openings, writes, syncs,
renames and removals; the n-th one fails (once or for ever) or kills the process, for every n.
Run as a script, this file is the process that forks the children that are killed:
`python tests/test_durable_faults.py RIG FOLDER`.
"""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faulty_disk import FaultyDisk
from pictorch import durable
from pictorch.errors import ResourceError
from pictorch.run_folder import RunFolder
from sealed_folders import NEW, OLD, Files, names, newest, put

# --- a fault at every operation -------------------------------------------------------------------


def run_with_faults(
    code: int, for_ever: bool, prepare: Callable[[], None], act: Callable[[], None]
) -> Iterator[ResourceError | None]:
    """Yields what `act` raised for n = 1, 2, 3 ..., each time prepared anew, until no fault is left."""

    def fail(name: str) -> None:
        raise OSError(code, os.strerror(code))

    for n in range(1, 1000):
        prepare()
        disk, error = FaultyDisk(n, fail, for_ever), None
        with disk.mounted():
            try:
                act()
            except ResourceError as caught:
                error = caught
        if disk.count < n:
            assert error is None
            return
        yield error
    raise AssertionError("the faults do not end")


def check_message(error: ResourceError, path: Path, code: int) -> None:
    message = str(error)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    assert ("no space left" if code == errno.ENOSPC else os.strerror(code)) in message


faults = pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
spans = pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])


@faults
@spans
@pytest.mark.parametrize("old", [None, b"old bytes"], ids=["first", "again"])
def test_a_fault_leaves_the_old_file_or_the_new_one(
    place: Path, code: int, for_ever: bool, old: bytes | None
) -> None:
    path = place / "run.json"

    def prepare() -> None:
        shutil.rmtree(place)
        place.mkdir()
        if old is not None:
            path.write_bytes(old)

    outcomes = set()
    for error in run_with_faults(code, for_ever, prepare, lambda: durable.write_bytes(path, b"new bytes")):
        found = path.read_bytes() if path.exists() else None
        outcomes.add((error is not None, found))
        if error is None:
            assert found == b"new bytes"
        else:
            assert found in (old, b"new bytes")
            check_message(error, path, code)
            if not for_ever:
                assert set(names(place)) <= {"run.json"}, "the unfinished file must go"
        durable.write_bytes(path, b"newest")
        assert names(place) == ["run.json"]
        assert path.read_bytes() == b"newest"
    assert (True, old) in outcomes


@faults
@spans
@pytest.mark.parametrize("keep_previous", [False, True], ids=["replaces", "keeps"])
@pytest.mark.parametrize("old", [None, OLD], ids=["first", "again"])
def test_a_fault_leaves_the_old_folder_or_the_new_one(
    place: Path, code: int, for_ever: bool, keep_previous: bool, old: Files | None
) -> None:
    target = place / "last"

    def prepare() -> None:
        shutil.rmtree(place)
        place.mkdir()
        if old is not None:
            put(target, {"oldest": b"of all"}, keep_previous=keep_previous)
            put(target, old, keep_previous=keep_previous)

    def act() -> None:
        put(target, NEW, keep_previous=keep_previous)

    failures = 0
    for error in run_with_faults(code, for_ever, prepare, act):
        if error is None:
            assert newest(target) == (NEW, None)
        else:
            failures += 1
            check_message(error, target, code)
            if old is None and not durable.exists(target):
                assert not target.exists()
            else:
                files, complaint = newest(target)
                assert files in (old, NEW)
                assert complaint is None
            if old is not None and not for_ever:
                assert target.exists(), "what stood there must stay there"
            if not for_ever:
                assert f".last.new-{os.getpid()}" not in names(place), "the unfinished folder must go"
        put(target, {"next": b"one"}, keep_previous=keep_previous)
        assert newest(target) == ({"next": b"one"}, None)
        assert set(names(place)) <= ({"last", "last.previous"} if keep_previous else {"last"})
    assert failures > 10


@faults
@spans
def test_a_fault_while_setting_aside_loses_nothing(place: Path, code: int, for_ever: bool) -> None:
    target, damaged = place / "last", place / "last.damaged"

    def prepare() -> None:
        shutil.rmtree(place)
        place.mkdir()
        put(damaged, {"an": b"older one"})
        put(target, OLD)

    for error in run_with_faults(code, for_ever, prepare, lambda: durable.set_aside(target)):
        if error is not None:
            check_message(error, target, code)
        there = target if target.exists() else damaged
        assert newest(there) == (OLD, None)
        put(target, NEW)
        durable.set_aside(target)
        put(target, NEW)
        assert names(place) == ["last", "last.damaged"]
        assert newest(damaged) == (NEW, None)


@faults
@spans
def test_a_fault_in_a_line_or_a_cut_leaves_the_lines_before(place: Path, code: int, for_ever: bool) -> None:
    path = place / "metrics.jsonl"

    def prepare() -> None:
        path.write_bytes(b"one\ntwo\n")

    for error in run_with_faults(code, for_ever, prepare, lambda: durable.append_line(path, "three")):
        assert path.read_bytes().startswith(b"one\ntwo\n")
        assert b"one\ntwo\nthree\n".startswith(path.read_bytes())
        assert error is not None
        check_message(error, path, code)
    for error in run_with_faults(code, for_ever, prepare, lambda: durable.truncate(path, 4)):
        assert path.read_bytes() in (b"one\ntwo\n", b"one\n")
        assert error is not None
        check_message(error, path, code)


def test_the_manifest_is_the_last_file(place: Path) -> None:
    disk = FaultyDisk(0, lambda name: None)
    with disk.mounted():
        put(place / "last", {"a": b"1", "b": b"2"})
    kinds = [name for name in disk.names if name in ("write", "rename", "fsync")]
    assert kinds == ["write", "write", "fsync", "fsync", "write", "fsync", "fsync", "rename", "fsync"]


# --- a kill at every operation --------------------------------------------------------------------


@pytest.mark.parametrize(  # faults, above, come at the same operations
    "rig",
    [
        "file",
        "folder",
        *(pytest.param(r, marks=pytest.mark.slow) for r in ("folder-kept", "chain", "rolling", "step-back")),
    ],
)
def test_a_kill_leaves_old_or_new(tmp_path: Path, rig: str) -> None:
    """The children are forked by a small process of its own: forking a pytest that loaded torch is unsafe."""
    command = [sys.executable, __file__, rig, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    least = {"file": 4, "folder": 25, "folder-kept": 25, "chain": 50, "rolling": 18, "step-back": 5}
    assert int(done.stdout) >= least[rig]


def killed(kill_at: int, act: Callable[[], None]) -> bool:
    """Returns whether a forked child that does `act` was killed at its operation `kill_at`."""
    child = os.fork()
    if child == 0:
        disk = FaultyDisk(kill_at, lambda name: os.kill(os.getpid(), signal.SIGKILL))
        with disk.mounted():
            act()
        os._exit(0 if disk.count < kill_at else 1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def kill_file_writer(place: Path) -> int:
    path, n = place / "run.json", 1
    path.write_bytes(b"old bytes")
    while killed(n, lambda: durable.write_bytes(path, b"new bytes")):
        assert path.read_bytes() in (b"old bytes", b"new bytes")
        durable.write_bytes(path, b"old bytes")
        assert names(place) == ["run.json"], "a killed process left something behind"
        n += 1
    assert path.read_bytes() == b"new bytes"
    return n - 1


def kill_folder_writer(place: Path, keep_previous: bool) -> int:
    target, n = place / "last", 1
    put(target, OLD, keep_previous=keep_previous)
    put(target, OLD, keep_previous=keep_previous)
    while killed(n, lambda: put(target, NEW, keep_previous=keep_previous)):
        files, complaint = newest(target)
        assert files in (OLD, NEW)
        assert complaint is None
        put(target, OLD, keep_previous=keep_previous)
        if not keep_previous:
            assert names(place) == ["last"], "a killed process left something behind"
        put(target, OLD, keep_previous=keep_previous)
        assert set(names(place)) <= {"last", "last.previous"}
        n += 1
    assert newest(target) == (NEW, None)
    return n - 1


def kill_again_and_again(place: Path) -> int:
    """Kills 80 writers in a row in one place, with no clean write in between."""
    target, draw, kills = place / "last", random.Random(0), 0
    known: Files = {"step": b"0"}
    put(target, known, keep_previous=True)
    for step in range(1, 81):
        attempt = {"step": str(step).encode(), "more": b"x" * step}
        if killed(draw.randrange(1, 40), lambda: put(target, attempt, keep_previous=True)):  # noqa: B023
            kills += 1
            files, complaint = newest(target)
            assert files in (known, attempt)
            assert complaint is None
            known = files
        else:
            known = attempt
            assert newest(target) == (known, None)
    put(target, NEW, keep_previous=True)
    assert names(place) == ["last", "last.previous"]
    assert newest(place / "last.previous") == (known, None)
    return kills


def kill_rolling_checkpoints(place: Path) -> int:
    """Kills a run that saves epoch 3 and drops epoch 1, keeping two."""
    run, n = RunFolder(place), 1
    folder = place / "checkpoints"

    def save(epoch: int) -> None:
        put(run.checkpoint_path(f"epoch-{epoch:04d}"), OLD, step=epoch)

    def save_third() -> None:
        save(3)
        run.drop_checkpoints(keep=2, until_epoch=3)

    for again in (1, 2):
        save(again)
    while killed(n, save_third):
        whole = [name for name in run.checkpoints() if durable.verify_folder(folder / name)]
        assert whole in (
            ["epoch-0001", "epoch-0002"],
            ["epoch-0001", "epoch-0002", "epoch-0003"],
            ["epoch-0002", "epoch-0003"],
        )
        save_third()
        assert names(folder) == ["epoch-0002", "epoch-0003"], "a killed process left something behind"
        durable.remove_folder(folder / "epoch-0003")
        save(1)
        n += 1
    assert names(folder) == ["epoch-0002", "epoch-0003"]
    return n - 1


def kill_step_back(place: Path) -> int:
    target, n = place / "best", 1

    def prepare() -> None:
        for step, files in ((1, OLD), (2, NEW)):
            put(target, files, keep_previous=True, step=step)

    prepare()
    while killed(n, lambda: durable.step_back(target)):
        assert newest(target) in ((OLD, None), (NEW, None))
        while durable.newest_folder(target)[1]["step"] > 1:
            durable.step_back(target)
        assert newest(target) == (OLD, None)
        prepare()
        n += 1
    assert newest(target) == (OLD, None)
    assert names(place) == ["best"]
    return n - 1


RIGS: dict[str, Callable[[Path], int]] = {
    "file": kill_file_writer,
    "folder": lambda place: kill_folder_writer(place, keep_previous=False),
    "folder-kept": lambda place: kill_folder_writer(place, keep_previous=True),
    "chain": kill_again_and_again,
    "rolling": kill_rolling_checkpoints,
    "step-back": kill_step_back,
}

if __name__ == "__main__":
    os.fsync = os.fstat  # as in conftest.py
    print(RIGS[sys.argv[1]](Path(tempfile.mkdtemp(dir=sys.argv[2]))))
