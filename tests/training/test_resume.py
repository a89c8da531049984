"""A training that was stopped anywhere and goes on gives the bytes of one that was not."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pictorch import cli, durable
from pictorch.errors import CheckpointError, DataError, RecipeError, RunInUseError
from pictorch.run_folder import RunFolder
from pictorch.training import loop
from pictorch.training.console import Console
from pictorch.training.session import Position
from pictorch.training.start import train
from run_bytes import differing, files_of
from stopped_run import KILLED_CHILD, PLATEAU, QUIET, change_state, dropped, stopped_again, stopped_copy


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_in_new_processes(
    busy_recipe: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    from pictorch.exporting.export import export

    # Saving at every step puts each kill right behind a checkpoint inside an epoch.
    busy_recipe["train"] |= {"epochs": 2, "save_every_minutes": 1e-6}
    recipe = tmp_path / "busy.yaml"
    recipe.write_text(yaml.safe_dump(busy_recipe))
    train(recipe, out="whole", console=QUIET)
    command = [sys.executable, "-c", KILLED_CHILD]
    begin_or_go_on = ["train", str(recipe), "--resume", "killed", "-q"]
    go_on = ["train", "--resume", "killed", "-q"]
    for steps, arguments in ((0, begin_or_go_on), (7, begin_or_go_on), (11, go_on)):
        child = subprocess.run([*command, str(steps), *arguments], capture_output=True, text=True)
        assert child.returncode == -signal.SIGKILL, child.stderr
    assert cli.main(begin_or_go_on) == 0
    for run in ("whole", "killed"):
        export(run)
    assert differing(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "threads", "augment"),
    [
        ("float32", 1, {}),
        ("float64", 1, {}),
        ("bf16", 1, {}),
        ("bf16", 2, {}),
        ("float32", 1, {"policy": "trivial_augment", "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0}),
    ],
)
def test_stopped_at_any_step_and_resumed(
    lean_recipe: dict[str, Any], tmp_path: Path, precision: str, threads: int, augment: dict[str, Any]
) -> None:
    """One run is stopped behind its steps 1, 13, 20, which ends an epoch, and 27."""
    lean_recipe["augment"] |= augment
    lean_recipe["train"] |= {"epochs": 2, "precision": precision, "threads": threads}
    train(lean_recipe, out="whole", console=QUIET)
    run = stopped_copy(lean_recipe, tmp_path / "stopped", 1)
    for steps in (12, 7, 7):
        stopped_again(run, steps)
    assert train(resume=run, console=QUIET).steps == 40
    assert differing(tmp_path / "whole", run) == []


def mark_best(state: dict[str, Any], weights: dict[str, Any]) -> None:
    """A choice that no later epoch can beat, so that losing it is seen."""
    state["position"] |= {"best_accuracy": 1.0, "best_loss": 0.0, "epochs_since_best": 1}


SAVED_ITEMS = [  # and those of plateau: test_resume_options.py
    "model",
    "weights",
    "losses",
    "correct",
    "metrics_bytes",
    "optimizer.exp_avg",
    "optimizer.exp_avg_sq",
    "optimizer.step",
    "position.epoch",
    "position.step_in_epoch",
    "position.best_accuracy",
    "position.best_loss",
    "position.epochs_since_best",
]


@pytest.mark.slow
def test_every_saved_item_is_needed(lean_recipe: dict[str, Any], tmp_path: Path) -> None:
    """The negative control of the tests above: without any one item the comparison fails."""
    lean_recipe["train"] |= {"epochs": 3, "precision": "float32", "early_stop_epochs": 2}
    stopped = stopped_copy(lean_recipe, tmp_path / "stopped", 37)
    saved = torch.load(stopped / "checkpoints/last/state.pt", weights_only=True)
    items = {name for name in saved if name not in ("position", "optimizer", "scaler")} | {"model"}
    items |= {f"position.{name}" for name in Position().to_json() if name not in PLATEAU}
    items |= {f"optimizer.{name}" for name in saved["optimizer"]["state"][0]}
    assert items == set(SAVED_ITEMS)

    kept = {}
    for name, prepare in (("plain", None), ("marked", mark_best)):
        kept[name] = Path(shutil.copytree(stopped, tmp_path / name))
        if prepare is not None:
            change_state(kept[name], prepare)
        train(resume=kept[name], console=QUIET)
    for item in SAVED_ITEMS:
        marked = item.startswith(("position.best", "position.epochs_since"))
        run = Path(shutil.copytree(stopped, tmp_path / item))
        if marked:
            change_state(run, mark_best)
        change_state(run, dropped(item))
        try:
            train(resume=run, console=QUIET)
        except CheckpointError:
            continue  # noticed at once
        assert differing(kept["marked" if marked else "plain"], run), f"{item} was not needed"


@pytest.mark.slow
def test_killed_before_the_first_checkpoint(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    busy_recipe["train"] |= {"epochs": 1}
    train(busy_recipe, out="whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "finish_epoch", lambda *arguments: sys.exit("killed"))
        with pytest.raises(SystemExit):
            train(busy_recipe, out="killed", console=QUIET)
    assert RunFolder.open("killed").metrics()
    train(resume="killed", console=QUIET)
    assert differing(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.slow
def test_gradient_scale_is_needed(lean_recipe: dict[str, Any], tmp_path: Path) -> None:
    lean_recipe["train"] |= {"epochs": 1, "precision": "fp16"}
    train(lean_recipe, out="whole", console=QUIET)
    run = stopped_copy(lean_recipe, tmp_path / "stopped", 9)
    without = Path(shutil.copytree(run, tmp_path / "without"))
    change_state(without, lambda state, weights: state["scaler"].update(scale=1.0, _growth_tracker=0))
    for each in (run, without):
        train(resume=each, console=QUIET)
    assert differing(tmp_path / "whole", run) == []
    assert differing(tmp_path / "whole", without)


@pytest.mark.slow
def test_damaged_last_checkpoint_falls_back_to_the_one_before(
    busy_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy_recipe["train"] |= {"epochs": 3}
    train(busy_recipe, out="whole", console=QUIET)
    run = stopped_copy(busy_recipe, tmp_path / "damaged", 45)
    weights = run / "checkpoints/last/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    train(resume=run, console=Console("normal"))
    said = capsys.readouterr().err
    assert "is damaged (sha256 of model.safetensors differs); going on from" in said
    assert (run / "checkpoints/last.damaged").exists()
    assert differing(tmp_path / "whole", run) == []


def test_no_whole_checkpoint_is_an_error_and_not_a_new_start(
    busy_recipe: dict[str, Any], tmp_path: Path
) -> None:
    run = stopped_copy(busy_recipe, tmp_path / "run", 2)
    (run / "checkpoints/last/state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no other checkpoint"):
        train(resume=run, console=QUIET)


@pytest.mark.slow
def test_more_epochs_for_a_finished_run(busy_recipe: dict[str, Any]) -> None:
    busy_recipe["train"] |= {"epochs": 1}
    train(busy_recipe, out="run", console=QUIET)
    result = train(resume="run", epochs=3, console=QUIET)
    assert result.epochs == 3
    run = RunFolder.open("run")
    assert run.facts()["segments"] == [
        {"first_epoch": 0, "epochs": 1, "peak_factor": 1.0},
        {"first_epoch": 1, "epochs": 2, "peak_factor": 0.1},
    ]
    rates = [line["lr"] for line in run.metrics() if line["step"] > 20]
    peak = busy_recipe["optimizer"]["lr"]
    assert rates == sorted(rates, reverse=True)
    assert 0.09 * peak < rates[0] <= 0.1 * peak
    assert 0 < rates[-1] < 0.01 * peak


@pytest.mark.slow
def test_stopped_at_the_border_of_an_added_segment(lean_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Patience starts anew there, whether the process passes the border or is started at it."""
    lean_recipe["train"] |= {"epochs": 2, "early_stop_epochs": 2, "ema_decay": None}
    lean_recipe["optimizer"]["lr"] = 1e-30
    stopped = stopped_copy(lean_recipe, tmp_path / "stopped", 3)
    whole = Path(shutil.copytree(stopped, tmp_path / "whole"))
    train(resume=whole, epochs=6, console=QUIET)
    stopped_again(stopped, 17 + 20, epochs=6)  # the last step before the border
    train(resume=stopped, console=QUIET)
    assert differing(whole, stopped) == []


@pytest.mark.slow
def test_a_run_goes_on_where_its_device_is_missing(
    busy_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    run = stopped_copy(busy_recipe, tmp_path / "run", 2)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("device: auto", "device: cuda"))
    train(resume=run, console=Console("normal"))
    assert "not be bit-exact" not in capsys.readouterr().err, "the device was the CPU before too"
    from pictorch.evaluation.evaluate import evaluate

    assert evaluate(run).n == 145


def test_an_early_kill_does_not_block_its_folder(busy_recipe: dict[str, Any]) -> None:
    Path("run").mkdir()
    for name in ("run.lock", "recipe.yaml", ".recipe.yaml.new-1"):
        Path("run", name).write_text("")
    busy_recipe["train"] |= {"epochs": 1}
    assert train(busy_recipe, out="run", console=QUIET).epochs == 1


def test_a_finished_run_is_left_alone(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    busy_recipe["train"] |= {"epochs": 1}
    first = train(busy_recipe, out="run", console=QUIET)
    before = files_of(tmp_path / "run")
    assert train(resume="run", console=QUIET) == first
    assert files_of(tmp_path / "run") == before
    with pytest.raises(RecipeError, match="larger total"):
        train(resume="run", epochs=0, console=QUIET)


def test_resume_of_other_images_is_refused(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    run = stopped_copy(busy_recipe, tmp_path / "run", 2)
    for name in ("a", "b"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number * 30, 0, 0)).save(tmp_path / "other" / name / f"{number}.png")
    with pytest.raises(DataError, match="fingerprint differs"):
        train(resume=run, data=tmp_path / "other", console=QUIET)


def test_resume_alone_takes_the_recipe_of_the_run() -> None:
    with pytest.raises(RecipeError, match="leave out --set, --seed"):
        train(resume="run", seed=1, set=["train.epochs=2"], console=QUIET)


def test_an_inexact_resume_says_so(
    busy_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy_recipe["train"] |= {"epochs": 1}
    run = RunFolder.open(stopped_copy(busy_recipe, tmp_path / "run", 2))
    environment = run.environment()
    environment["packages"]["torch"] = "1.0"
    run.write_environment(environment)
    train(resume=run.path, console=Console("normal"))
    assert f"not be bit-exact: torch: 1.0 -> {torch.__version__.partition('+')[0]}" in capsys.readouterr().err


@pytest.mark.slow
def test_second_process_in_a_run_folder(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = RunFolder.open(stopped_copy(busy_recipe, tmp_path / "run", 2))
    with run.lock():
        child = subprocess.run(
            [sys.executable, "-m", "pictorch", "train", "--resume", str(run.path)],
            capture_output=True,
            text=True,
        )
        assert child.returncode == RunInUseError.exit_code == 7
        assert f"{run.path} is in use by process" in child.stderr


@pytest.mark.slow
def test_ctrl_c_saves_and_names_the_command(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    """A real signal from outside, sent as soon as the first loss is recorded."""
    import time

    import yaml

    busy_recipe["train"] |= {"epochs": 500, "log_every_steps": 1}
    recipe = tmp_path / "busy.yaml"
    recipe.write_text(yaml.safe_dump(busy_recipe))
    command = [sys.executable, "-m", "pictorch", "train", str(recipe), "--out", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run/metrics.jsonl").exists():
            assert time.monotonic() < deadline
            assert child.poll() is None, child.communicate()
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "stopped by SIGINT at step" in said
    assert "go on with `pictorch train --resume run`" in said
    assert "Traceback" not in said
    assert durable.verify_folder(tmp_path / "run/checkpoints/last")


def test_a_recipe_with_resume_begins_a_run_once(
    plain_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start that was killed before run.json, then one that is whole, then nothing is left to do."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.lock").touch()
    begun = train(plain_recipe, resume="run", console=Console())
    said = capsys.readouterr().err
    assert said.startswith("no run is at run yet: this one begins there\n"), "a mistyped name would be one"
    assert (begun.run, begun.epochs) == ("run", 1)
    before = files_of(tmp_path / "run")
    assert train(plain_recipe, resume="run", console=Console()) == begun
    assert "no run is at" not in capsys.readouterr().err
    assert files_of(tmp_path / "run") == before


def test_a_recipe_with_resume_never_goes_on_with_another_run(
    plain_recipe: dict[str, Any], tmp_path: Path
) -> None:
    train(plain_recipe, out="run", console=QUIET)
    for changed, says in (
        ({"set": ["optimizer.lr=0.1"]}, r"optimizer.lr 0.05, and now it is 0.1; leave out RECIPE"),
        ({"seed": 1}, r"train.seed 0, and now it is 1"),
        ({"epochs": 2}, r"train.epochs 1, and now it is 2"),
        ({"out": "other"}, r"leave out --out other"),
    ):
        with pytest.raises(RecipeError, match=says):
            train(plain_recipe, resume="run", console=QUIET, **changed)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/notes.txt").touch()
    with pytest.raises(CheckpointError, match="junk is not a run folder"):
        train(plain_recipe, resume="junk", console=QUIET)
