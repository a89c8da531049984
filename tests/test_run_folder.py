"""The run folder: names, the lock between real processes, checkpoints."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from begun_run import begin
from pictorch import durable
from pictorch.errors import CheckpointError, RecipeError, ResourceError, RunInUseError
from pictorch.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", "own")
    begin(made)
    return made


def checkpoint(run: RunFolder, name: str, *, keep_previous: bool = False) -> None:
    with durable.new_folder(run.checkpoint_path(name), {}, keep_previous=keep_previous) as folder:
        (folder / "weights").write_bytes(b"weights")


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
    checkpoint(run, "epoch-0000")
    run.drop_checkpoints(keep=1, until_epoch=10_001)
    assert run.checkpoints() == ["best", "last", "epoch-0000", "epoch-10001"]


def test_only_whole_names_are_checkpoints(run: RunFolder) -> None:
    checkpoint(run, "last", keep_previous=True)
    checkpoint(run, "last", keep_previous=True)
    checkpoint(run, "epoch-0001", keep_previous=True)
    checkpoint(run, "epoch-0001", keep_previous=True)
    durable.set_aside(run.checkpoint_path("last"))
    (run.path / "checkpoints" / ".best.new-1").mkdir()
    assert run.checkpoints() == ["last", "epoch-0001"], "last.previous stands for last"


def test_the_places_of_what_is_made_from_a_run(run: RunFolder) -> None:
    places = (run.bundle_path, run.form_path("web"), run.report_path, run.tensorboard_path, run.log_path)
    assert [str(place.relative_to(run.path)) for place in places] == [
        "bundle",
        "exported/web",
        "report.html",
        "tensorboard",
        "log.txt",
    ]
