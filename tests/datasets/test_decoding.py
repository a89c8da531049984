"""Decoding and surveying: how far they are, and by how many threads."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pictorch
from made_data import write_classes
from pictorch import host
from pictorch.datasets import decoding, load_splits
from pictorch.recipe import DataSection


def decode(source: Path, progress: Callable[[str], None]) -> None:
    load_splits(DataSection(source=str(source)), progress)


def look_at(source: Path, progress: Callable[[str], None]) -> None:
    class Lines:
        def line(self, text: str, style: str = "") -> None:
            progress(text)

    pictorch.data_check(source, console=Lines())


@pytest.mark.parametrize(("act", "verb"), [(decode, "decoded"), (look_at, "looked at")])
def test_long_work_tells_how_far_it_is(
    act: Callable[[Path, Callable[[str], None]], None],
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, lines = write_classes(tmp_path / "x", {"a": 6, "b": 6}), list[str]()
    monkeypatch.setattr(decoding, "_CHUNK_BYTES", 4 * 8 * 8 * 3)
    monkeypatch.setattr("pictorch.datasets.survey._ROWS", 4)
    monkeypatch.setattr(decoding, "_SECONDS_BETWEEN_LINES", 0.0)
    act(source, lines.append)
    assert [line for line in lines if line.startswith(verb)] == [
        f"{verb} {done} of 12 images" for done in (4, 8, 12)
    ]
    monkeypatch.setattr(decoding, "_SECONDS_BETWEEN_LINES", 60.0)
    (source / "a" / "000.png").unlink()
    lines.clear()
    act(source, lines.append)
    assert not [line for line in lines if re.match(rf"{verb} \d", line)]


@pytest.mark.parametrize(("quota", "threads"), [(None, 3), (2.0, 2), (0.5, 1)])
def test_threads_are_those_that_a_containers_quota_keeps_busy(
    quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "allowed_cpus", lambda: [0, 1, 2])
    monkeypatch.setattr(host, "quota_cpus", lambda: quota)
    seen = set()

    def job() -> None:
        time.sleep(0.005)
        seen.add(threading.get_ident())

    assert list(decoding.in_order([job] * 12)) == [None] * 12
    assert len(seen) == threads
