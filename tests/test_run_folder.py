"""The run folder: names, the lock between real processes, records that a kill tore, checkpoints."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictorch import durable
from pictorch.errors import CheckpointError, RecipeError, ResourceError, RunInUseError
from pictorch.recipe import Recipe
from pictorch.recipe_files import load_recipe
from pictorch.run_folder import ClassScore, Evaluation, RunFolder
from pictorch.run_records import npz_bytes

SEGMENTS = [{"first_epoch": 0, "epochs": 3, "peak_factor": 1.0}]


def made_recipe(name: str = "own") -> Recipe:
    sections = {"data": {"source": "digits"}, "model": {"name": "simple_net"}, "optimizer": {"lr": 1e-5}}
    return load_recipe({"name": name, **sections, "train": {"epochs": 3}})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", "own")
    begin(made)
    return made


def begin(run: RunFolder, recipe: Recipe | None = None) -> None:
    run.begin(
        recipe or made_recipe(),
        command=["pictorch", "train", "not UTF-8: \udcff"],
        network={"name": "simple_net", "parameters": 25578},
        environment={"threads": 2},
        data={"source": "digits", "class_names": ["0", "1"], "fingerprint": "f", "counts": {}, "input": {}},
        segments=SEGMENTS,
    )


def checkpoint(run: RunFolder, name: str, *, keep_previous: bool = False) -> None:
    with durable.new_folder(run.checkpoint_path(name), {}, keep_previous=keep_previous) as folder:
        (folder / "weights").write_bytes(b"weights")


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


# --- its place ------------------------------------------------------------------------------------


def test_runs_are_numbered_for_each_recipe(tmp_path: Path) -> None:
    """Every test stands in its tmp_path."""
    assert [str(RunFolder.create(None, "digits").path) for _ in range(2)] == [
        "runs/digits-001",
        "runs/digits-002",
    ]
    assert RunFolder.create(None, "digits-small").path == Path("runs/digits-small-001")
    assert RunFolder.create(None, "digits").path == Path("runs/digits-003")
    for name in ("digits-041", "digits-x-099", "digits-7", "digits-050.old"):
        (tmp_path / "runs" / name).mkdir()
    assert RunFolder.create(None, "digits").path == Path("runs/digits-042")
    (tmp_path / "runs" / "digits-999").mkdir()
    assert RunFolder.create(None, "digits").path == Path("runs/digits-1000")
    assert RunFolder.create(None, "digits").path == Path("runs/digits-1001")
    assert RunFolder.create(None, "[x]*").path == Path("runs/[x]*-001")
    assert RunFolder.create(None, "[x]*").path == Path("runs/[x]*-002")


def test_out_must_be_empty(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert RunFolder.create(out, "digits").path == out
    assert RunFolder.create(str(out), "digits").path == out
    (out / "photo.png").write_bytes(b"")
    with pytest.raises(RecipeError, match=re.escape(f"--out {out} is not empty; choose another --out")):
        RunFolder.create(out, "digits")
    assert os.listdir(out) == ["photo.png"]


@pytest.mark.parametrize("name", ["data.json", "recipe.yaml", "environment.json"])
def test_a_users_own_file_of_such_a_name_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RecipeError, match="is not empty; choose another --out"):
        RunFolder.create(tmp_path, "digits")
    (tmp_path / "run.lock").write_text("")
    assert RunFolder.create(tmp_path, "digits").path == tmp_path, "a start that was killed"


def test_out_must_be_utf8(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^--out .* is no UTF-8; choose another --out$"):
        RunFolder.create(tmp_path / "o\udcff", "digits")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"a file")
    with pytest.raises(ResourceError, match=r"^cannot write runs \("):
        RunFolder.create(None, "digits")
    with pytest.raises(ResourceError, match=r"^cannot write .*/runs/below \("):
        RunFolder.create(tmp_path / "runs" / "below", "digits")


def test_a_folder_is_a_run_once_it_has_begun(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "own")
    for path in (run.path, tmp_path / "missing"):
        with pytest.raises(
            CheckpointError, match=r"is not a run folder \(it (has no run\.json|does not exist)\)"
        ):
            RunFolder.open(path)
    begin(run)
    assert RunFolder.open(str(run.path)).path == run.path


def test_run_json_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(durable, "write_bytes", lambda path, data: written.append(path.name))
    begin(RunFolder(tmp_path))
    assert written[-1] == "run.json"
    assert set(written) == {"recipe.yaml", "environment.json", "data.json", "run.json"}


def test_a_newer_schema_is_refused_and_this_one_read(run: RunFolder) -> None:
    facts = run.facts()
    assert facts["schema"] == 1
    for schema in (2, "1", None):
        (run.path / "run.json").write_text(json.dumps({**facts, "schema": schema}))
        with pytest.raises(CheckpointError, match="was written by a newer pictorch") as caught:
            RunFolder.open(run.path)
        assert "upgrade with `pip install -U pictorch`" in str(caught.value)


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


# --- the lock -------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from pictorch.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_turned_away_until_the_first_ends(run: RunFolder) -> None:
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunInUseError) as caught, run.lock():
            pass
        assert caught.value.exit_code == 7
        message = str(caught.value)
        assert message.startswith(f"{run.path} is in use by process {holder.pid} on ")
        assert len(message.splitlines()) == 1
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "RunInUseError" in second.stderr
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with run.lock():
        pass


def test_the_lock_is_free_after_its_body_however_that_ends(run: RunFolder) -> None:
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock(), pytest.raises(RunInUseError, match=f"process {os.getpid()} on "), run.lock():
        pass
    (run.path / "run.lock").write_text("process 1 on a machine with a very long name, long ago")
    with run.lock():
        assert (run.path / "run.lock").read_text() == f"process {os.getpid()} on {platform.node()}"


# --- records --------------------------------------------------------------------------------------


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
    }
    run.write_environment({"threads": 4})
    assert run.environment() == {"threads": 4}


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


# --- checkpoints ----------------------------------------------------------------------------------


def test_best_then_last_is_chosen(run: RunFolder) -> None:
    assert run.checkpoints() == []
    with pytest.raises(
        CheckpointError, match=r"has no checkpoint yet; make one with `pictorch train --resume"
    ):
        run.choose_checkpoint(None)
    checkpoint(run, "last")
    assert run.choose_checkpoint(None) == "last"
    checkpoint(run, "epoch-0012")
    assert run.choose_checkpoint(None) == "last"
    checkpoint(run, "best")
    assert run.choose_checkpoint(None) == "best"
    assert run.choose_checkpoint("last") == "last"
    assert run.checkpoints() == ["best", "last", "epoch-0012"]


def test_epochs_are_found_by_number(run: RunFolder) -> None:
    for name in ("last", "epoch-0012", "epoch-0002", "epoch-10000"):
        checkpoint(run, name)
    assert run.checkpoints() == ["last", "epoch-0002", "epoch-0012", "epoch-10000"]
    for asked in ("epoch-12", "epoch-012", "epoch-0012"):
        assert run.choose_checkpoint(asked) == "epoch-0012"
    assert run.choose_checkpoint("epoch-10000") == "epoch-10000"
    for asked in ("epoch-13", "best", "../last", "last.previous", ""):
        with pytest.raises(CheckpointError, match="unknown checkpoint") as caught:
            run.choose_checkpoint(asked)
        assert "known: epoch-0002, epoch-0012, epoch-10000, last" in str(caught.value)


def test_the_newest_epochs_stay(run: RunFolder) -> None:
    for epoch in (9998, 9999, 10_000, 10_001, 2):
        checkpoint(run, f"epoch-{epoch:04d}")
    for name in ("best", "last"):
        checkpoint(run, name)
    run.drop_checkpoints(keep=2, until_epoch=10_000)
    assert run.checkpoints() == ["best", "last", "epoch-9999", "epoch-10000", "epoch-10001"]
    run.drop_checkpoints(keep=5, until_epoch=10_001)
    assert len(run.checkpoints()) == 5
    run.drop_checkpoints(keep=1, until_epoch=9998)
    assert len(run.checkpoints()) == 5


def test_only_whole_names_are_checkpoints(run: RunFolder) -> None:
    checkpoint(run, "last", keep_previous=True)
    checkpoint(run, "last", keep_previous=True)
    checkpoint(run, "epoch-0001", keep_previous=True)
    checkpoint(run, "epoch-0001", keep_previous=True)
    durable.set_aside(run.checkpoint_path("last"))
    (run.path / "checkpoints" / ".best.new-1").mkdir()
    assert run.checkpoints() == ["last", "epoch-0001"], "last.previous stands for last"


def test_the_places_of_what_is_made_from_a_run(run: RunFolder) -> None:
    places = (run.bundle_path, run.report_path, run.tensorboard_path, run.log_path)
    assert [str(place.relative_to(run.path)) for place in places] == [
        "bundle",
        "report.html",
        "tensorboard",
        "log.txt",
    ]
