"""Trainings in processes of their own: how they fail, how they are stopped, how fast their bundles answer."""

import signal
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pictorch.benchmarking import latency
from pictorch.benchmarking.runs import Failure, finish_run, stops_explained
from pictorch.errors import StoppedError
from pictorch.training.console import Console
from tiny_bundle import make_bundle

QUIET = Console("quiet")


def stand_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Lets `python -m pictorch train` be this script."""
    path = Path("python")
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path.resolve()))


def test_a_training_that_the_system_ends_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "kill -9 $$")
    failure = finish_run(Path("run"), ["digits"], QUIET)
    assert failure == Failure(
        "its training was ended by SIGKILL, as systems do when memory is short", exit_code=5
    )


def test_a_training_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, """echo "$@" > words; echo '{"error": "no; mend it", "exit_code": 6}'; exit 6""")
    assert finish_run(Path("run"), ["digits", "--seed", "1"], QUIET) == Failure("no; mend it", 6)
    words = Path("words").read_text().split()
    assert words == ["-m", "pictorch", "train", "digits", "--seed", "1", "--out", "run", "--json", "-q"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_the_command_that_goes_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    said = rf"stopped by {number.name}; .* go on with `again`"
    with pytest.raises(StoppedError, match=said) as stop, stops_explained("again"):
        signal.raise_signal(number)
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_stop_lets_the_training_save_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets one SIGTERM, is waited for, and what it does then is done."""
    stand_in(
        monkeypatch,
        "trap 'sleep 0.1; echo saved >> state; kill $!; exit 143' TERM; kill -INT $PPID; sleep 5 & wait",
    )
    with pytest.raises(StoppedError, match="stopped by SIGINT"), stops_explained("again"):
        finish_run(Path("run"), ["digits"], QUIET)
    assert Path("state").read_text() == "saved\n"


def test_speed_is_the_time_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins that move the clock for each image show what is measured; their first call is slow."""
    asked: list[tuple[str, int]] = []
    now = 0.0

    class Sleeper:
        def __init__(self, name: str, threads: int) -> None:
            self.bundle, self.name, self.threads = self, name, threads

        def golden(self) -> tuple[Any, None]:
            return np.zeros((3, 8, 8, 3), np.uint8), None

        def probabilities(self, images: Any, batch_size: int) -> None:
            assert images.shape == (batch_size, 8, 8, 3)
            nonlocal now
            asked.append((self.name, self.threads))
            first = 50 if asked.count((self.name, self.threads)) == 1 else 1
            now += first * {"slow": 2e-3, "fast": 2e-4}[self.name] * (1 if len(images) == 1 else 2)

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(latency, "load", lambda path, threads: Sleeper(path, threads))
    monkeypatch.setattr(latency, "_ROUND_SECONDS", 0.01)
    monkeypatch.setattr(latency, "usable_cpus", lambda: 7)
    found = latency.speeds({"a": "slow", "b": "fast"})  # type: ignore[dict-item]
    assert [found[name].latency_seconds for name in "ab"] == pytest.approx([2e-3, 2e-4])
    assert [found[name].images_per_second for name in "ab"] == pytest.approx([64 / 4e-3, 64 / 4e-4])
    assert found["a"].threads == 7
    assert {threads for _, threads in asked} == {1, 7}
    changes = sum(before[0] != after[0] for before, after in pairwise(asked))
    assert changes >= 5, "they take turns"


def test_a_bundle_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_ROUND_SECONDS", 0.02)
    speed = latency.speeds({"tiny": make_bundle(Path("bundle")).path})["tiny"]
    assert 0 < speed.latency_seconds < 1
    assert speed.images_per_second > 0
    assert speed.calls > 5
