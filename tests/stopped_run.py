"""Trainings that are stopped at a chosen step, and checkpoints that have lost what they kept."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pictorch import durable
from pictorch.errors import StoppedError
from pictorch.training import loop
from pictorch.training.console import Console
from pictorch.training.session import Position
from pictorch.training.start import train

QUIET = Console("quiet")
# What of a position only the schedule plateau needs.
PLATEAU = ("rate_falls", "lowest_loss", "epochs_since_lowest")
# The child kills itself at the end of a step: as hard as `kill -9`, and always at the same place.
KILLED_CHILD = """
import os, signal, sys
from pictorch import cli
from pictorch.training import loop
steps_left, arguments = int(sys.argv[1]), sys.argv[2:]
real = loop.train_step
def train_step(session, **options):
    global steps_left
    steps_left -= 1
    if steps_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(session, **options)
loop.train_step = train_step
sys.exit(cli.main(arguments))
"""


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a SIGTERM arrive during the given step of the process."""
    real, done = loop.train_step, 0

    def train_step(session: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done == steps:
            signal.raise_signal(signal.SIGTERM)
        return real(session, **options)

    monkeypatch.setattr(loop, "train_step", train_step)


def stopped_copy(recipe: dict[str, Any], out: Path, steps: int) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(StoppedError) as stop:
            train(recipe, out=out, console=QUIET)
    assert stop.value.exit_code == 143
    assert f"step {steps}" in str(stop.value)
    assert f"`pictorch train --resume {out}`" in str(stop.value)
    return out


def stopped_again(run: Path, steps: int, epochs: float | None = None) -> None:
    """Goes on with a run and stops it after so many steps more."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        with pytest.raises(StoppedError):
            train(resume=run, epochs=epochs, console=QUIET)


def change_state(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Rewrites the last checkpoint, manifest and all, after `change(state, weights)`."""
    from safetensors.torch import load_file, save_file

    last = run / "checkpoints" / "last"
    manifest = durable.read_manifest(last)
    state = torch.load(last / "state.pt", weights_only=True)
    weights = load_file(last / "model.safetensors")
    change(state, weights)
    with durable.new_folder(last, manifest) as folder:
        torch.save(state, folder / "state.pt")
        save_file(weights, folder / "model.safetensors")


def dropped(what: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A change that puts one saved item back to what a new training would have."""

    def change(state: dict[str, Any], weights: dict[str, Any]) -> None:
        group, _, key = what.partition(".")
        if group == "model":
            for tensor in weights.values():
                tensor.zero_()
        elif group == "weights":
            state["weights"] = {name: tensor.clone() for name, tensor in weights.items()}
        elif group in ("losses", "correct"):
            state[group].zero_()
        elif group == "optimizer":
            for values in state["optimizer"]["state"].values():
                values[key].zero_()
        elif group == "position":
            state["position"][key] = getattr(Position(), key)
        else:
            state[group] = 0

    return change
