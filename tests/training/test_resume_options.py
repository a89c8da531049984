"""Everything that changes rates, losses and what learns, in trainings that were stopped and go on."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pictorch.run_folder import RunFolder
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import PLATEAU, QUIET, change_state, dropped, stopped_copy


@pytest.fixture
def recipe(busy_recipe: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of five steps: the backbone learns from the second on, the rate may fall after each."""
    busy_recipe["loss"] |= {"class_weights": "balanced", "l1": 1e-4}
    busy_recipe["optimizer"] = {"name": "muon", "lr": 0.02, "weight_decay": 1e-3, "backbone_lr_factor": 0.5}
    busy_recipe["schedule"] = {"name": "plateau", "plateau_epochs": 2, "step_factor": 0.5}
    busy_recipe["train"] |= {"epochs": 3, "batch_size": 256, "freeze": ["backbone"], "unfreeze_epoch": 1}
    return busy_recipe


def rates(run: Path | str) -> list[float]:
    """Returns the rate at the end of each epoch."""
    return [line["lr"] for line in RunFolder.open(run).epochs()]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_stopped_before_and_after_unfreezing(recipe: dict[str, Any], optimizer: str, tmp_path: Path) -> None:
    recipe["optimizer"]["name"] = optimizer
    train(recipe, out="whole", console=QUIET)
    for steps in (4, 8):
        run = stopped_copy(recipe, tmp_path / f"stopped-{steps}", steps)
        train(resume=run, console=QUIET)
        assert differing(tmp_path / "whole", run) == [], steps


def mark_plateau(state: dict[str, Any], weights: dict[str, Any]) -> None:
    """One fall, and one epoch more without a smaller loss makes another."""
    state["position"] |= {"rate_falls": (1,), "lowest_loss": 0.0, "epochs_since_lowest": 1}


@pytest.mark.slow
def test_what_plateau_and_muon_save_is_needed(recipe: dict[str, Any], tmp_path: Path) -> None:
    marked = stopped_copy(recipe, tmp_path / "marked", 8)
    change_state(marked, mark_plateau)
    stopped = Path(shutil.copytree(marked, tmp_path / "stopped"))
    train(resume=marked, console=QUIET)
    assert rates(marked) == [0.02, 0.01, 0.005]
    for item in (*(f"position.{name}" for name in PLATEAU), "optimizer.momentum_buffer"):
        run = Path(shutil.copytree(stopped, tmp_path / item))
        change_state(run, dropped(item))
        train(resume=run, console=QUIET)
        assert differing(marked, run), f"{item} was not needed"


def test_older_checkpoints_know_nothing_of_plateau(plain_recipe: dict[str, Any], tmp_path: Path) -> None:
    """They are of other schedules, and go on."""
    plain_recipe["train"]["batch_size"] = 500
    train(plain_recipe, out="whole", console=QUIET)
    run = stopped_copy(plain_recipe, tmp_path / "stopped", 1)
    change_state(run, lambda state, weights: [state["position"].pop(name) for name in PLATEAU])
    train(resume=run, console=QUIET)
    assert differing(tmp_path / "whole", run) == []


def test_the_rate_falls_where_validation_stalls_and_epochs_can_be_added(plain_recipe: dict[str, Any]) -> None:
    """Nothing moves here, so no loss is smaller than the first."""
    plain_recipe["optimizer"]["lr"] = 1e-30
    plain_recipe["schedule"] = {"name": "plateau", "plateau_epochs": 1, "step_factor": 0.5}
    plain_recipe["train"] |= {"epochs": 4, "batch_size": 500}
    train(plain_recipe, out="run", console=QUIET)
    assert rates("run") == [1e-30, 1e-30, 0.5e-30, 0.25e-30]
    train(resume="run", epochs=6, console=QUIET)
    steps = RunFolder.open("run").epochs()[0]["step"]
    falling = [1e-31 * (1 - step / (2 * steps)) for step in (steps - 1, 2 * steps - 1)]
    assert rates("run")[4:] == pytest.approx(falling)
