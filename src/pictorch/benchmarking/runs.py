"""The runs of a comparison: each trained in a process of its own, then judged on the test and exported."""

import json
import shlex
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from pictorch import durable
from pictorch.bundle import open_bundle
from pictorch.bundle.bundle import MODEL
from pictorch.errors import CheckpointError, StoppedError, UserError
from pictorch.evaluation.evaluate import evaluate
from pictorch.exporting.export import export
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Failure(NamedTuple):
    """Why something is missing, and the exit code of that kind of error."""

    reason: str
    exit_code: int


def finish_run(folder: Path, words: Sequence[str], console: Console) -> Failure | None:
    """Does what of a run is not done yet; returns why it cannot be done, None where all of it is."""
    failure = train_run(folder, words, console)
    if failure is not None:
        return failure
    run = RunFolder(folder)
    try:
        if run.evaluation("test") is None:
            evaluate(folder, split="test", console=console)
        if not durable.exists(run.bundle_path):
            export(run, console=console)
    except UserError as error:
        return Failure(str(error), error.exit_code)
    return None


def train_run(folder: Path, words: Sequence[str], console: Console) -> Failure | None:
    """Trains what of a run is not trained yet; returns why it cannot be done, None where all of it is.

    `words` follow `pictorch train` where there is no run yet. Training has a process of its own, so that
    its peak memory is its own, and a process that the system ends takes no other with it.
    """
    try:
        is_done = RunFolder.open(folder).facts()["finished_epoch"] is not None
        words = ["--resume", str(folder)]
    except CheckpointError:
        is_done, words = False, [*words, "--out", str(folder)]
    failure = None if is_done else _train(words, console)
    if failure is not None:
        return failure
    facts = RunFolder(folder).facts()
    if facts["finished_epoch"] is None:
        return Failure(f"stopped by {facts['stopped_by']} before its end", 0)
    return None


def _train(words: Sequence[str], console: Console) -> Failure | None:
    """Runs `pictorch train`; returns how it failed. A stop of ours stops it in order."""
    flags = ["--json", *(["-q"] if console.is_quiet else ["-v"] if console.is_verbose else [])]
    console.line(f"\npictorch train {shlex.join(words)}", "bold")
    try:
        with _held_back():
            child = subprocess.Popen(
                [sys.executable, "-m", "pictorch", "train", *words, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                process_group=0,  # of its own: what is typed into the terminal reaches it once, through us
            )
        answer, _ = child.communicate()
    except KeyboardInterrupt:
        child.terminate()
        child.communicate()
        raise
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return Failure(f"its training was ended by {name}, as systems do when memory is short", 5)
    return Failure(json.loads(answer)["error"], child.returncode) if child.returncode else None


@contextmanager
def stops_explained(go_on: str) -> Iterator[None]:
    """Turns SIGINT and SIGTERM into a StoppedError that names the command `go_on`; a second one kills."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    try:
        with _handled_by(note):
            yield
    except KeyboardInterrupt:
        number = came[0] if came else signal.SIGINT
        name = signal.Signals(number).name
        raise StoppedError(
            f"stopped by {name}; what is trained is kept; go on with `{go_on}`", number
        ) from None


@contextmanager
def _held_back() -> Iterator[None]:
    """Lets signals wait for its end, so that none comes between the start of a process and our having it."""
    came: list[int] = []
    with _handled_by(lambda number, frame: came.append(number)):
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Gives SIGINT and SIGTERM a handler for a while; Python delivers signals in the main thread only."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {each: signal.signal(each, handler) for each in _SIGNALS} if is_main else {}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def figures(run: RunFolder) -> dict[str, Any]:
    """Returns what a finished run recorded of itself; seconds and images/s are those of all its starts."""
    evaluation = run.evaluation("test")
    assert evaluation is not None, run.path
    lines = [line for line in run.timing() if line["kind"] in ("epoch", "stop")]
    environment, facts = run.environment(), run.facts()
    train_seconds = sum(line["train_seconds"] for line in lines)
    images = sum(line["images_per_second"] * line["train_seconds"] for line in lines)
    return {
        "run": run.path.name,
        "seed": run.recipe().train.seed,
        "parameters": facts["network"]["parameters"],
        "multiply_adds": facts["network"]["multiply_adds"],
        "test_accuracy": evaluation.accuracy,
        "test_interval_95": list(evaluation.accuracy_interval),
        "test_n": evaluation.n,
        "test_openings": run.data()["test_openings"],
        "checkpoint": evaluation.checkpoint,
        "epochs": min(len(run.epochs()), run.recipe().train.epochs),
        "training_seconds": round(sum(line["seconds"] for line in lines), 2),
        "epoch_seconds": round(statistics.median(line["seconds"] for line in lines), 3),
        "images_per_second": round(images / train_seconds, 1),
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in lines),
        "onnx_bytes": len(open_bundle(run.bundle_path).files[MODEL]),
        "device": environment["device_name"],
        "threads": environment["threads"],
        "precision": environment["auto"]["train.precision"]["value"],
    }
