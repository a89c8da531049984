"""Trainings in block order, batches cut ahead: chosen once, resumed to the same bytes, ended cleanly."""

import functools
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from made_data import write_classes
from pictorch.datasets import batches as batches_module
from pictorch.datasets.batches import TrainingBatches
from pictorch.datasets.order import block_order
from pictorch.errors import ResourceError
from pictorch.run_folder import RunFolder
from pictorch.training import runtime as runtime_module
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import KILLED_CHILD, QUIET, stopped_copy

SIDE = 8
_ROW_BYTES = 3 * SIDE**2
_BLOCK_BYTES, _WINDOW_BYTES = 4 * _ROW_BYTES, 16 * _ROW_BYTES


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """60 images that are a map; 54 for training in blocks of 4, windows of 16; 6 steps an epoch."""
    write_classes(tmp_path / "images", {"a": 30, "b": 30}, SIDE)
    small = functools.partial(block_order, block_bytes=_BLOCK_BYTES, window_bytes=_WINDOW_BYTES)
    monkeypatch.setattr(batches_module, "block_order", small)
    return {
        "name": "blocks",
        "data": {"source": str(tmp_path / "images"), "test_fraction": 0.0},
        "augment": {"flip": "random", "crop_padding": 1},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.01},
        "train": {"epochs": 2, "batch_size": 9, "threads": 1},
    }


def memory(total_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "memory_bytes", lambda: (total_bytes, total_bytes))


def order_of(run: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = RunFolder.open(run).environment()["auto"]["data.order"]
    return found


def prefetching_threads() -> int:
    return sum(thread.name.startswith("pictorch-prefetch") for thread in threading.enumerate())


def test_the_order_is_chosen_once_whatever_the_memory_is_later(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(60 * _ROW_BYTES, monkeypatch)
    train(recipe, out="whole", console=QUIET)
    assert order_of("whole")["value"] == "blocks"
    assert order_of("whole")["reason"].startswith("auto: blocks for a memory map of more than 50% of the ")
    run = stopped_copy(recipe, tmp_path / "stopped", 4)
    assert prefetching_threads() == 0
    memory(10**12, monkeypatch)
    train(resume=run, console=QUIET)
    assert "bit-exact" not in (run / "log.txt").read_text()
    assert order_of(run)["value"] == "blocks"
    assert differing(tmp_path / "whole", run) == []
    train(recipe, out="random", console=QUIET)
    assert order_of("random")["value"] == "random"
    assert "metrics.jsonl" in differing(tmp_path / "whole", tmp_path / "random")


def test_a_run_from_before_there_was_a_choice_goes_on_at_random(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe, out="whole", console=QUIET)
    run = stopped_copy(recipe, tmp_path / "stopped", 4)
    record = json.loads((run / "environment.json").read_text())
    assert record["auto"].pop("data.order")["value"] == "random"
    (run / "environment.json").write_text(json.dumps(record))
    memory(60 * _ROW_BYTES, monkeypatch)
    train(resume=run, console=QUIET)
    assert "bit-exact" not in (run / "log.txt").read_text()
    assert differing(tmp_path / "whole", run) == []


def test_memory_that_runs_out_in_the_thread_is_one_clear_line(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, threads = TrainingBatches._cut, []

    def cut(made: TrainingBatches, place: Any) -> Any:
        threads.append(threading.current_thread())
        if place.step == 2:
            raise MemoryError
        return real(made, place)

    recipe["data"]["order"] = "blocks"
    monkeypatch.setattr(TrainingBatches, "_cut", cut)
    with pytest.raises(ResourceError, match=r"out of memory on cpu with train\.batch_size 9 in 1 part"):
        train(recipe, out="run", console=QUIET)
    assert threading.main_thread() not in threads
    assert prefetching_threads() == 0


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_in_new_processes(recipe: dict[str, Any], tmp_path: Path) -> None:
    import yaml

    recipe["data"]["order"] = "blocks"
    recipe["train"] |= {"save_every_minutes": 1e-6}
    path = tmp_path / "blocks.yaml"
    path.write_text(yaml.safe_dump(recipe))
    train(path, out="whole", console=QUIET)
    small = (
        "import functools\nfrom pictorch.datasets import batches, order\n"
        "batches.block_order = functools.partial(\n"
        f"    order.block_order, block_bytes={_BLOCK_BYTES}, window_bytes={_WINDOW_BYTES}\n)\n"
    )
    start, go_on = ["train", str(path), "--out", "killed", "-q"], ["train", "--resume", "killed", "-q"]
    for steps, arguments, code in ((3, start, -signal.SIGKILL), (5, go_on, -signal.SIGKILL), (99, go_on, 0)):
        command = [sys.executable, "-c", small + KILLED_CHILD, str(steps), *arguments]
        child = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert child.returncode == code, child.stderr
    assert differing(tmp_path / "whole", tmp_path / "killed") == []
