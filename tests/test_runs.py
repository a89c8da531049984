"""The table of run folders: every state, the broken ones too, quick with many."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from messages.faults import ordinary_rights
from pictorch import cli
from pictorch.errors import CheckpointError, RecipeError
from pictorch.evaluation.evaluate import evaluate
from pictorch.reporting.report import report
from pictorch.run_folder import RunFolder
from pictorch.run_list import RunList, runs
from pictorch.training.console import Console
from pictorch.training.start import train

QUIET = Console("quiet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and evaluated run, an early stopped one, one whose time was up, and a killed one."""
    root = tmp_path_factory.mktemp("made") / "runs"

    def trained(name: str, **fields: Any) -> Path:
        settings = {f"train.{key}": value for key, value in {"threads": 1, "epochs": 2, **fields}.items()}
        train("digits", out=root / name, set=settings, console=QUIET)
        return root / name

    evaluate(trained("finished"), split="test")
    evaluate(root / "finished", split="test")
    trained("time-up", max_minutes=1e-9)
    early = trained("early")
    facts = json.loads((early / "run.json").read_text())
    (early / "run.json").write_text(json.dumps({**facts, "finished_epoch": 1}))
    killed = Path(shutil.copytree(early, root / "killed"))
    (killed / "run.json").write_text(json.dumps({**facts, "finished_epoch": None}))
    return root


@pytest.fixture
def place(made: Path) -> Path:
    """A copy of them in `runs`, each a minute older than the one before."""
    shutil.copytree(made, "runs")
    for number, name in enumerate(("killed", "early", "time-up", "finished")):
        for record in Path("runs", name).glob("*.json*"):
            os.utime(record, (time.time() - 60 * number - 100,) * 2)
    return Path("runs")


def states(found: RunList) -> dict[str, str]:
    return {run.path: run.state for run in found}


@pytest.mark.slow
def test_every_state_newest_first(place: Path) -> None:
    found = runs()
    assert list(states(found).items()) == [
        ("runs/killed", "interrupted"),
        ("runs/early", "stopped early"),
        ("runs/time-up", "stopped"),
        ("runs/finished", "finished"),
    ]
    finished, stopped = found.runs[3], found.runs[2]
    assert (finished.recipe, finished.data, finished.epochs, finished.epochs_planned) == (
        "digits",
        "digits",
        2,
        2,
    )
    best = max(RunFolder(Path("runs/finished")).epochs(), key=lambda line: line["val_accuracy"])
    assert finished.best_val_accuracy == best["val_accuracy"]
    test = RunFolder(Path("runs/finished")).evaluation("test")
    assert test is not None
    assert (finished.test_accuracy, finished.test_openings) == (test.accuracy, 2)
    assert finished.size_bytes == sum(p.stat().st_size for p in place.glob("finished/**/*") if p.is_file())
    assert time.time() - finished.changed_at == pytest.approx(280, abs=60)
    assert (stopped.stopped_by, stopped.epochs, stopped.best_val_accuracy) == ("max_minutes", 0, None)
    assert stopped.test_openings == 0


def test_a_run_that_another_process_works_on(place: Path) -> None:
    run = RunFolder(place / "killed")
    with run.lock():
        assert states(runs())["runs/killed"] == "training"
    assert states(runs())["runs/killed"] == "interrupted"


def test_looking_does_not_keep_a_training_from_starting(place: Path) -> None:
    """`runs` holds the lock for a moment; a start at that moment waits and goes on."""
    code = (
        "import fcntl, time\n"
        "with open('runs/killed/run.lock') as file:\n"
        "    fcntl.flock(file, fcntl.LOCK_SH)\n"
        "    print('held', flush=True)\n"
        "    time.sleep(0.02)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == "held\n"
        with RunFolder(place / "killed").lock():
            pass


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", None),
        ("run.json", b"{"),
        ("run.json", b'{"schema": 99}'),
        ("run.json", b'{"schema": 1, "segments": [], "network": {}, "finished_epoch": null}'),
        ("data.json", None),
        ("data.json", b"[]"),
        ("metrics.jsonl", b"{}\nnot json\n" * 2),
        ("metrics.jsonl", b'{"kind": "epoch"}\n'),
        ("run.json", b'{"schema": 1, "segments": [{"first_epoch": "x", "epochs": 1}], "finished_epoch": 1}'),
        ("evaluation/test.json", b"{}"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason(place: Path, name: str, content: bytes | None) -> None:
    path = place / "finished" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    found = runs()
    if name == "metrics.jsonl" and content is not None and b"not json" in content:
        assert states(found)["runs/finished"] == "finished", "lines of steps are not looked at"
        return
    broken = next(run for run in found if run.path == "runs/finished")
    assert broken.state == "broken"
    assert broken.reason is not None
    assert "runs/finished" in broken.reason
    assert "\n" not in broken.reason
    assert len(found) == 4


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("data.json", "source", "5"),
        ("data.json", "test_openings", '"x"'),
        ("run.json", "segments", "null"),
        ("metrics.jsonl", "val_accuracy", '"x"'),
        ("metrics.jsonl", "val_accuracy", "NaN"),
    ],
)
def test_a_record_changed_by_hand_is_named(place: Path, name: str, key: str, value: str) -> None:
    path = place / "finished" / name
    record = json.loads(path.read_text().splitlines()[-1] if name == "metrics.jsonl" else path.read_text())
    path.write_text(json.dumps({**record, key: json.loads(value)}) + "\n")
    found = {run.path: run for run in runs()}
    assert len(found) == 4
    assert found["runs/finished"].state == "broken"
    assert f"{path} is damaged ({key!r} is {value})" in (found["runs/finished"].reason or "")
    assert cli.main(["runs", "--json"]) == 0
    with pytest.raises(CheckpointError, match=re.escape(f"{path} is damaged ({key!r} is {value}); put ")):
        report(place / "finished")


def test_a_folder_that_may_not_be_read_is_listed(place: Path) -> None:
    with ordinary_rights():
        (place / "killed").chmod(0)
        try:
            found = {run.path: run for run in runs()}
        finally:
            (place / "killed").chmod(0o755)
    assert len(found) == 4
    assert "cannot be read (Permission denied); allow it with" in (found["runs/killed"].reason or "")


def test_files_that_come_and_go_meanwhile(place: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            folder = place / "early" / "checkpoints" / "new"
            folder.mkdir()
            for number in range(20):
                (folder / str(number)).write_bytes(b"x")
            shutil.rmtree(folder)

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        for _ in range(60):
            assert len(runs()) == 4
    finally:
        stop.set()
        worker.join()


def test_what_is_no_run_is_left_out(place: Path) -> None:
    for other in ("photos/cat", ".hidden", "empty", "notes", "backup-2024", "only"):
        (place / other).mkdir(parents=True)
    (place / "notes" / "data.json.bak").write_text("")
    (place / "file").write_text("")
    (place / "only" / "data.json").write_text("{}")
    (place / "begun").mkdir()
    (place / "begun" / "run.lock").write_text("")
    found = states(runs())
    assert len(found) == 5
    assert found["runs/begun"] == "broken", "a start that was killed"


def test_a_folder_without_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert len(runs()) == 0
    assert cli.main(["runs"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "no runs in runs yet" in said
    assert "train digits`" in said
    assert len(runs(tmp_path)) == 0
    for wrong in ("nowhere", str(Path(__file__))):
        with pytest.raises(RecipeError, match="is not a folder"):
            runs(wrong)
        assert cli.main(["runs", wrong]) == 2


def test_the_table_and_its_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "killed" / "data.json").unlink()
    assert cli.main(["runs"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    heads = ["run", "recipe", "data", "epochs", "state", "best val", "test (opened)", "size", "age"]
    assert re.split("  +", lines[0].strip()) == heads
    finished = next(line for line in lines if line.startswith("runs/finished"))
    for part in ("digits", "2/2", "finished", "(2×)", " MB", " min"):
        assert part in finished
    assert "stopped: time is up" in out
    assert lines[-1].startswith("broken: runs/killed/data.json cannot be read")
    assert cli.main(["runs", "runs/finished", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["folder"] == "runs/finished"
    assert [run["state"] for run in said["runs"]] == ["finished"]
    assert said == runs("runs/finished").to_json()


def test_in_a_notebook(place: Path) -> None:
    shown = runs()._repr_html_()
    assert "runs/finished" in shown
    assert "stopped: time is up" in shown


@pytest.mark.slow
def test_hundreds_of_runs_are_quick(made: Path, tmp_path: Path) -> None:
    """The promise is 2 s on an idle machine; in processor time, which other work hardly changes."""
    for number in range(300):
        shutil.copytree(made / "finished", tmp_path / "many" / f"x-{number:03d}", copy_function=os.link)
    before = time.process_time()
    assert len(runs(tmp_path / "many")) == 300
    assert time.process_time() - before < 2
