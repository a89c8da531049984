"""What killed writers leave behind: the next writer of the same name sweeps it up, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

from pictorch import durable
from sealed_folders import names, put


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["last", "a [b] *?", "new-1"])
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(place: Path, dead_pid: int, name: str) -> None:
    folders = (name, f"{name}.previous", f"{name}.damaged")
    dead = [f".{folder}.{kind}-{dead_pid}" for folder in folders for kind in ("new", "trash")]
    living = [f".{name}.new-{os.getppid()}", f".{name}.previous.trash-{os.getppid()}"]
    strange = [f".{name}.new-", f".{name}.new-x1", f".other.new-{dead_pid}", f"{name}.new-{dead_pid}"]
    for leftover in (*dead, *living, *strange, f".{name}.new-{os.getpid()}"):
        (place / leftover).mkdir()
        (place / leftover / "half").write_bytes(b"written")
    put(place / name)
    durable.verify_folder(place / name)
    assert names(place) == sorted([name, *living, *strange])


def test_remains_of_removed_folders_are_swept(place: Path, dead_pid: int) -> None:
    living, strange = f".one.trash-{os.getppid()}", ".one.trash-"
    for leftover in (f".one.trash-{dead_pid}", f".two.previous.trash-{dead_pid}", living, strange):
        (place / leftover / "inner").mkdir(parents=True)
    durable.sweep(place)
    assert names(place) == sorted([living, strange])


def test_a_process_that_may_not_be_asked_is_alive(
    place: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / f".last.new-{dead_pid}").mkdir()

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    put(place / "last")
    assert names(place) == [f".last.new-{dead_pid}", "last"]


def test_leftover_files_of_the_dead_go(place: Path, dead_pid: int) -> None:
    (place / f".run.json.new-{dead_pid}").write_bytes(b"half")
    (place / f".run.json.new-{os.getppid()}").write_bytes(b"half")
    durable.write_bytes(place / "run.json", b"whole")
    assert names(place) == sorted([f".run.json.new-{os.getppid()}", "run.json"])
