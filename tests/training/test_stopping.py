"""Trainings that end before their last epoch and go on: the clock, the checkpoints that stay, `best`."""

from pathlib import Path
from typing import Any

import pytest

from pictorch import cli, durable
from pictorch.errors import RecipeError
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import BEST, LAST, RunFolder
from pictorch.training import loop
from pictorch.training.console import Console
from pictorch.training.result import FitResult
from pictorch.training.start import train
from run_bytes import differing

QUIET = Console("quiet")


@pytest.mark.slow
def test_the_clock_stops_a_training_that_goes_on_to_the_same_bytes(
    busy_recipe: dict[str, Any], tmp_path: Path
) -> None:
    """Every start is stopped after its first step: inside epochs, at their ends, and at the last one."""
    busy_recipe["train"] |= {"epochs": 2, "batch_size": 256, "log_every_steps": 2}
    whole = train(busy_recipe, out="whole", console=QUIET)
    busy_recipe["train"]["max_minutes"] = 1e-9
    results = [train(busy_recipe, out="stopped", console=QUIET)]
    while results[-1].stopped_by is not None:
        assert len(results) < 20
        results.append(train(resume="stopped", console=QUIET))
    assert [result.steps for result in results] == list(range(1, 11)), "each start does a step"
    assert [result.epochs for result in results] == [0] * 4 + [1] * 5 + [2]
    assert {result.stopped_by for result in results[:-1]} == {"max_minutes"}
    assert results[-1] == FitResult(**{**whole.to_json(), "run": "stopped"})
    assert differing(tmp_path / "whole", tmp_path / "stopped") == []

    first = results[0]
    assert (first.epochs_planned, first.checkpoint) == (2, "last")
    figures = (first.train_loss, first.train_accuracy, first.val_loss, first.val_accuracy, first.best_epoch)
    assert figures == (None,) * 5
    kinds = [line["kind"] for line in RunFolder.open("stopped").timing() if line["kind"] != "step"]
    assert kinds == ["stop"] * 4 + ["epoch"] + ["stop"] * 4 + ["epoch"]


def test_a_stop_by_the_clock_is_told_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--set", "train.threads=1", "--out", "run"]
    assert cli.main(["train", "digits", *quick, "--set", "train.max_minutes=1e-9"]) == 0
    said = capsys.readouterr()
    line = "stopped by max_minutes at step 1; state saved in run/checkpoints/last; go on with `pictorch "
    assert line in said.err
    assert "trained to epoch 0 of 1, stopped by max_minutes: nothing was judged yet" in said.out
    assert "train --resume run" in said.out
    assert RunFolder.open("run").facts()["stopped_by"] == "max_minutes"
    log = Path("run/log.txt").read_text().splitlines()
    assert log[-1].startswith(line)


def test_time_that_is_not_over_stops_nothing(busy_recipe: dict[str, Any]) -> None:
    busy_recipe["train"] |= {"epochs": 1, "max_minutes": 60.0}
    assert train(busy_recipe, out="run", console=QUIET).stopped_by is None
    assert RunFolder.open("run").facts()["stopped_by"] is None


# --- keep_checkpoints -----------------------------------------------------------------------------


@pytest.mark.slow
def test_only_the_newest_checkpoints_stay(busy_recipe: dict[str, Any]) -> None:
    busy_recipe["train"] |= {"epochs": 5, "batch_size": 512, "save_every_epochs": 1, "keep_checkpoints": 2}
    train(busy_recipe, out="run", console=QUIET)
    run = RunFolder.open("run")
    assert run.checkpoints() == ["best", "last", "epoch-0004", "epoch-0005"]
    train(resume="run", epochs=6, console=QUIET)
    assert run.checkpoints() == ["best", "last", "epoch-0005", "epoch-0006"]
    assert durable.verify_folder(run.checkpoint_path("epoch-0005"))["metrics"]["epoch"] == 5


@pytest.mark.slow
def test_the_new_one_is_safe_before_the_oldest_goes(
    busy_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []
    real = durable.remove_folder

    def remove_folder(target: Path) -> None:
        if target.name.startswith("epoch"):
            newer = target.with_name(f"epoch-{int(target.name[6:]) + 1:04d}")
            assert durable.verify_folder(newer)
            removed.append(target.name)
        real(target)

    monkeypatch.setattr(durable, "remove_folder", remove_folder)
    busy_recipe["train"] |= {"epochs": 3, "batch_size": 512, "save_every_epochs": 1, "keep_checkpoints": 1}
    train(busy_recipe, out="run", console=QUIET)
    assert removed == ["epoch-0001", "epoch-0002"]


def test_checkpoints_that_are_never_made_cannot_be_kept() -> None:
    with pytest.raises(RecipeError, match=r"keep_checkpoints: 3 needs train\.save_every_epochs, which is"):
        load_recipe("digits", ["train.keep_checkpoints=3"])


# --- best -----------------------------------------------------------------------------------------


def killed_between_best_and_last(recipe: dict[str, Any], out: str) -> RunFolder:
    """Ends a training as a kill would, when epoch 2 is saved as `best` and not yet as `last`."""
    real = loop.save_checkpoint

    def save_checkpoint(session: Any, run: RunFolder, name: str, metrics: dict[str, Any]) -> None:
        if name == LAST and metrics["epoch"] == 2:
            raise SystemExit
        real(session, run, name, metrics)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_checkpoint)
        with pytest.raises(SystemExit):
            train(recipe, out=out, console=QUIET)
    run = RunFolder.open(out)
    assert epoch_of(run, BEST) == 2, "the second epoch must be better than the first for this test"
    assert epoch_of(run, LAST) == 1
    return run


def epoch_of(run: RunFolder, checkpoint: str) -> int:
    return int(durable.newest_folder(run.checkpoint_path(checkpoint))[1]["metrics"]["epoch"])


@pytest.mark.slow
def test_best_of_a_future_that_comes_again_is_the_same(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    busy_recipe["train"]["epochs"] = 3
    train(busy_recipe, out="whole", console=QUIET)
    killed_between_best_and_last(busy_recipe, "killed")
    train(resume="killed", console=QUIET)
    assert differing(tmp_path / "whole", tmp_path / "killed") == []
    for out in ("whole", "killed"):
        assert not Path(out, "checkpoints/best.previous").exists(), "a finished run has no use for it"


def test_a_kill_after_the_last_epoch_leaves_nothing_to_train(plain_recipe: dict[str, Any]) -> None:
    plain_recipe["train"]["epochs"] = 1
    run = RunFolder.open(train(plain_recipe, out="run", console=QUIET).run)
    durable.write_json(run.path / "run.json", {**run.facts(), "finished_epoch": None})
    before = run.log_path.read_text()
    assert train(resume="run", console=QUIET).epochs == run.facts()["finished_epoch"] == 1
    assert "(epoch 1 of 1)" in run.log_path.read_text().removeprefix(before)


@pytest.mark.slow
def test_best_of_a_future_that_does_not_come_again_is_taken_back(
    busy_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine the replayed epochs are not better than the first."""
    busy_recipe["train"]["epochs"] = 3
    run = killed_between_best_and_last(busy_recipe, "run")
    monkeypatch.setattr(loop, "note_best", lambda *arguments: False)
    result = train(resume="run", console=QUIET)
    assert epoch_of(run, BEST) == result.best_epoch == 1


@pytest.mark.slow
def test_best_that_is_lost_is_chosen_anew(busy_recipe: dict[str, Any]) -> None:
    busy_recipe["train"]["epochs"] = 3
    run = killed_between_best_and_last(busy_recipe, "run")
    durable.remove_folder(durable.previous_of(run.checkpoint_path(BEST)))
    result = train(resume="run", console=QUIET)
    assert result.best_epoch is not None
    assert epoch_of(run, BEST) == result.best_epoch > 1
