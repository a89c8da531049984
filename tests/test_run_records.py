"""The records of a run: what begins it, lines that a kill tore, arrays, evaluations."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from begun_run import SEGMENTS, begin, made_recipe
from pictorch.errors import CheckpointError
from pictorch.run_folder import ClassScore, Evaluation, RunFolder
from pictorch.run_records import npz_bytes


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", "own")
    begin(made)
    return made


def evaluation(split: str = "test", top5: float | None = None) -> Evaluation:
    scores = (ClassScore("0", 2, 0.5, 1.0, 2 / 3, 0.75), ClassScore("1", 1, 0.0, 0.0, 0.0, None))
    return Evaluation(
        split=split,
        n=3,
        accuracy=2 / 3,
        accuracy_interval=(0.2077, 0.9385),
        loss=0.1,
        top5=top5,
        per_class=scores,
        macro={"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "auc": None},
        confusion=((2, 0), (1, 0)),
        checkpoint="best",
        step=42,
        test_openings=1,
    )


def test_what_a_run_begins_with_is_read_back(run: RunFolder) -> None:
    assert run.recipe() == made_recipe()
    assert run.environment() == {"threads": 2}
    assert run.data() == {
        "schema": 1,
        "source": "digits",
        "class_names": ["0", "1"],
        "fingerprint": "f",
        "counts": {},
        "input": {},
        "test_openings": 0,
    }
    assert run.facts() == {
        "schema": 1,
        "recipe": "own",
        "command": ["pictorch", "train", "not UTF-8: \udcff"],
        "network": {"name": "simple_net", "parameters": 25578},
        "segments": SEGMENTS,
        "finished_epoch": None,
        "stopped_by": None,
        "weights": None,
    }
    run.write_environment({"threads": 4})
    assert run.environment() == {"threads": 4}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_records_that_cannot_be_read(run: RunFolder, content: bytes) -> None:
    readers = {"run.json": run.facts, "data.json": run.data, "environment.json": run.environment}
    for name, read in readers.items():
        (run.path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=re.escape(str(run.path / name))):
            read()
        (run.path / name).unlink()
        with pytest.raises(CheckpointError, match="cannot be read"):
            read()


@pytest.mark.parametrize("name", ["1e5", "it's", "'x", "a: b", "# c", "null", "鳥"])
def test_the_recipe_keeps_its_name(tmp_path: Path, name: str) -> None:
    run = RunFolder.create(tmp_path / "run", name)
    begin(run, made_recipe(name))
    assert run.recipe().name == name


def test_segments_and_the_end_are_recorded(run: RunFolder) -> None:
    run.write_finished(3)
    assert run.facts()["finished_epoch"] == 3
    before = (run.path / "run.json").stat().st_mtime_ns
    run.write_finished(3)
    assert (run.path / "run.json").stat().st_mtime_ns == before, "a finished run is not written again"
    added = {"first_epoch": 3, "epochs": 2, "peak_factor": 0.1}
    run.write_segments([*SEGMENTS, added])
    assert run.facts()["segments"] == [*SEGMENTS, added]
    assert run.facts()["finished_epoch"] is None
    assert run.facts()["network"]["name"] == "simple_net"


def test_what_stopped_a_run_is_recorded(run: RunFolder) -> None:
    run.write_stopped("max_minutes")
    assert run.facts()["stopped_by"] == "max_minutes"
    assert run.facts()["finished_epoch"] is None
    run.write_stopped(None)
    before = (run.path / "run.json").stat().st_mtime_ns
    run.write_stopped(None)
    assert run.facts()["stopped_by"] is None
    assert (run.path / "run.json").stat().st_mtime_ns == before, "nothing new is not written"


def test_test_openings_are_counted(run: RunFolder) -> None:
    assert [run.count_test_opening() for _ in range(3)] == [1, 2, 3]
    assert RunFolder.open(run.path).data()["test_openings"] == 3
    assert run.data()["source"] == "digits"


def test_lines_are_read_back_and_a_torn_last_one_is_not(run: RunFolder) -> None:
    assert run.metrics() == run.timing() == []
    lines = [{"kind": "step", "step": 1, "loss": 0.1}, {"kind": "epoch", "step": 2, "name": "é \u2028"}]
    for line in lines:
        run.append_metrics(line)
        run.append_timing(line)
    assert run.metrics() == run.timing() == lines
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        assert run.metrics() == lines[: whole[:length].count(b"\n")]
    with pytest.raises(ValueError, match="JSON compliant"):
        run.append_metrics({"loss": float("inf")})


def test_a_damaged_line_in_the_middle_is_refused(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged"):
        run.metrics()


def test_cut_back_to_a_checkpoint(run: RunFolder) -> None:
    assert run.metrics_bytes() == 0
    run.cut_back(0, 0)
    for step in (10, 20):
        run.append_metrics({"step": step})
        run.append_timing({"step": step, "seconds": 1.5})
    size = run.metrics_bytes()
    assert size == (run.path / "metrics.jsonl").stat().st_size
    for step in (30, 40):
        run.append_metrics({"step": step})
        run.append_timing({"step": step, "seconds": 2.5})
    with (run.path / "metrics.jsonl").open("ab") as metrics, (run.path / "timing.jsonl").open("ab") as timing:
        metrics.write(b'{"step": 5')
        timing.write(b'{"step": 5')
    run.cut_back(size, 20)
    assert [line["step"] for line in run.metrics()] == [10, 20]
    assert run.timing() == [{"step": 10, "seconds": 1.5}, {"step": 20, "seconds": 1.5}]
    assert run.metrics_bytes() == size
    with pytest.raises(CheckpointError, match="shorter than its checkpoint says"):
        run.cut_back(10_000, 20)


def test_lines_are_synced_with_a_checkpoint_or_an_epoch(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with every step, which would wait for the disk; what follows a checkpoint is made anew."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    run.append_metrics({"kind": "step"})
    run.append_timing({"kind": "step"})
    assert synced == []
    run.metrics_bytes()
    run.append_timing({"kind": "epoch"})
    assert synced == [(run.path / name).stat().st_ino for name in ("metrics.jsonl", "timing.jsonl")]


# --- arrays and evaluations -----------------------------------------------------------------------


def test_samples_are_read_back(run: RunFolder) -> None:
    assert run.samples() == {}
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    run.write_samples({"images": images, "labels": np.array([7])})
    found = run.samples()
    np.testing.assert_array_equal(found["images"], images)
    assert found["labels"].tolist() == [7]


def test_damaged_arrays_are_refused(run: RunFolder) -> None:
    run.write_samples({"images": np.arange(1000, dtype=np.uint8)})
    whole = (run.path / "samples.npz").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (b"", b"PK", b"text", whole[:-1], whole[:middle], flipped):
        (run.path / "samples.npz").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"samples\.npz is damaged"):
            run.samples()


def test_pickled_arrays_are_not_read(run: RunFolder) -> None:
    np.savez(run.path / "samples.npz", images=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(CheckpointError, match=r"samples\.npz is damaged \(Object arrays cannot be loaded"):
        run.samples()


def test_equal_arrays_give_equal_bytes_on_any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"a": np.arange(10), "b": np.zeros((2, 3), np.float32)}
    today = npz_bytes(arrays)
    real = time.localtime
    monkeypatch.setattr(time, "localtime", lambda seconds=None: real(10**9))
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert npz_bytes(arrays) == today


@pytest.mark.parametrize("top5", [None, 1.0])
def test_an_evaluation_is_read_back_equal(run: RunFolder, top5: float | None) -> None:
    assert run.evaluation("test") is None
    assert run.evaluation_arrays("test") == {}
    made = evaluation(top5=top5)
    logits = np.array([[0.1, 0.2], [0.3, 0.4], [1.0, 0.0]], np.float32)
    run.write_evaluation(made, {"logits": logits, "labels": np.array([0, 0, 1])})
    assert run.evaluation("test") == made
    assert run.evaluation("val") is None
    found = run.evaluation_arrays("test")
    assert found["logits"].dtype == np.float32
    np.testing.assert_array_equal(found["logits"], logits)
    assert sorted(os.listdir(run.path / "evaluation")) == ["test.json", "test.npz"]


def test_an_evaluation_as_json_has_the_promised_names() -> None:
    record: dict[str, Any] = json.loads(json.dumps(evaluation().to_json()))
    assert list(record) == [
        "split", "n", "accuracy", "accuracy_interval", "loss", "top5", "per_class", "macro",
        "confusion", "checkpoint", "step", "test_openings",
    ]  # fmt: skip
    assert list(record["per_class"][0]) == ["name", "n", "precision", "recall", "f1", "auc"]
    assert record["accuracy_interval"] == [0.2077, 0.9385]
    assert Evaluation.from_json(record) == evaluation()
