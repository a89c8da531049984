"""Checkpoints: what a training needs to go on bit for bit, and the weights that are judged.

`model.safetensors` holds the judged weights; `state.pt` holds the rest, tensors and plain values
only, read with `weights_only=True`. Randomness, order and schedule are functions of the position
and need not be saved.
"""

import io
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from pictorch import durable
from pictorch.errors import CheckpointError
from pictorch.images import InputSpec
from pictorch.networks import Classifier, OwnNetwork, build_network
from pictorch.networks.zoo import is_imported
from pictorch.plugins import importing
from pictorch.run_folder import BEST, LAST, WEIGHTS, RunFolder
from pictorch.training.group import ALONE, Group
from pictorch.training.session import Position, Session

SCHEMA = 1
_STATE = "state.pt"
_ANOTHER = "put back the one that this run made, or train again into a new --out"


@dataclass(frozen=True)
class Restored:
    """Where a training goes on: the checkpoint's folder, and what was wrong with newer ones."""

    folder: Path
    complaint: str | None


def save_checkpoint(session: Session, run: RunFolder, name: str, metrics: dict[str, Any]) -> None:
    """Writes the session as checkpoint `name`; `metrics` is kept in its manifest.

    For `last` and `best`, the one before stays beside it as `<name>.previous`. Of a group only the first
    process writes.
    """
    if not session.group.is_first:
        return
    state: dict[str, Any] = {
        "position": session.position.to_json(),
        "losses": session.losses,
        "correct": session.correct,
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.scaler.state_dict(),
        "metrics_bytes": run.metrics_bytes(),
    }
    if session.average is not None:
        state["weights"] = session.network.state_dict()
    manifest = {
        "schema": SCHEMA,
        "step": session.step,
        "metrics": metrics,
        "convolutions": session.runtime.convolutions.to_json(),
    }
    with durable.new_folder(
        run.checkpoint_path(name), manifest, keep_previous=name in (BEST, LAST)
    ) as folder:
        # Python writes the bytes, so that a full disk is an OSError and not one of each library's own.
        (folder / WEIGHTS).write_bytes(save(_in_memory_of_their_own(session.judged_network)))
        buffer = io.BytesIO()
        torch.save(state, buffer)
        (folder / _STATE).write_bytes(buffer.getvalue())


def restore(session: Session, run: RunFolder) -> Restored | None:
    """Puts a session where the newest whole checkpoint left it; None when there is none yet.

    A damaged `last` is set aside as `last.damaged`. Of a group the first process reads, and tells the
    others. Raises CheckpointError when checkpoints exist but none is whole.
    """
    if not run.checkpoints():
        return None
    group = session.group
    path, step, complaint = group.told_json(lambda: _chosen(run))
    folder = Path(path)
    state = _read_state(folder / _STATE, group)
    _load_weights(session.judged_network, _read_weights(folder / WEIGHTS, group), folder)
    if session.average is not None:
        _load_weights(session.network, state["weights"], folder)
    session.optimizer.load_state_dict(_with_own_names(state["optimizer"]))
    if state["scaler"]:  # empty where the saved training did not scale gradients
        session.scaler.load_state_dict(state["scaler"])
    session.losses.copy_(state["losses"])
    session.correct.copy_(state["correct"])
    state["position"].pop("gradient_norm", None)  # kept by earlier versions, measured anew by now
    session.position = Position(**state["position"])
    run.cut_back(state["metrics_bytes"], step)
    if group.is_first:
        _take_best_back(session, run)
    else:
        session.correct.zero_()  # the first process has the sum
    session.shared_steps = session.position.step_in_epoch
    session.position = _position(group.told_json(session.position.to_json))
    return Restored(folder, complaint)


def _chosen(run: RunFolder) -> tuple[str, int, str | None]:
    """Returns the folder to go on from, its step, and what was wrong with a newer one, now set aside."""
    folder, manifest, complaint = _newest(run, run.checkpoints())
    _check_schema(manifest, folder)
    if complaint is not None and run.checkpoint_path(LAST).exists():
        durable.set_aside(run.checkpoint_path(LAST))
    return str(folder), manifest["step"], complaint


def _position(told: dict[str, Any]) -> Position:
    return Position(**{**told, "rate_falls": tuple(told["rate_falls"])})


def load_network(
    run: RunFolder,
    checkpoint: str,
    dtype: torch.dtype = torch.float32,
    own: OwnNetwork | None = None,
    progress: Callable[[str], None] | None = None,
) -> Classifier:
    """Returns the judged network of a checkpoint in evaluation mode, of `dtype`, on the CPU.

    `own` is the network that was given in Python; `progress` is told what is imported in its absence.
    Raises CheckpointError when the checkpoint is missing, damaged or of another network.
    """
    try:
        folder, manifest, complaint = durable.newest_folder(run.checkpoint_path(checkpoint))
    except CheckpointError as error:
        complaint = str(error)
    if complaint is not None:
        others = [name for name in run.checkpoints() if name != checkpoint]
        remedy = f"use `--checkpoint {others[0]}`" if others else "train again into a new --out"
        raise CheckpointError(f"{complaint}; {remedy}")
    _check_schema(manifest, folder)
    data = run.data()
    spec = InputSpec.from_json(data["input"])
    model = run.recipe().model
    if progress is not None and own is None and is_imported(model.name):
        progress(importing(model.name))
    network = build_network(model, len(data["class_names"]), spec, own=own).to(dtype)
    _load_weights(network, _read_weights(folder / WEIGHTS), folder)
    return network.eval()


def checkpoint_record(run: RunFolder, checkpoint: str) -> tuple[int, dict[str, Any]]:
    """Returns how many steps a checkpoint's weights were trained for, and the metrics kept with them."""
    _, manifest, _ = durable.newest_folder(run.checkpoint_path(checkpoint))
    return int(manifest["step"]), manifest["metrics"]


def newest_convolutions(run: RunFolder) -> dict[str, Any] | None:
    """Returns the record of the own convolutions that the newest whole checkpoint was trained with.

    None where they were torch's; raises CheckpointError where no checkpoint is whole.
    """
    record: dict[str, Any] | None = _newest(run, run.checkpoints())[1].get("convolutions")
    return record


def _take_best_back(session: Session, run: RunFolder) -> None:
    """Puts the earlier `best` back where the present one is of a step that is still to be done.

    A kill between saving `best` and `last` leaves that. On another machine the step may not give the
    same weights again, and no record would stand behind the checkpoint.
    """
    target = run.checkpoint_path(BEST)
    with suppress(CheckpointError):  # a damaged one is refused where it is used
        while durable.exists(target) and durable.newest_folder(target)[1]["step"] > session.step:
            durable.step_back(target)
    if not durable.exists(target):
        session.position.best_accuracy = session.position.best_loss = None


def _newest(run: RunFolder, names: list[str]) -> tuple[Path, dict[str, Any], str | None]:
    """Returns `last` or the one before it, else the whole checkpoint with the most steps."""
    try:
        return durable.newest_folder(run.checkpoint_path(LAST))
    except CheckpointError as error:
        complaint = str(error)
    whole = []
    for name in names:
        with suppress(CheckpointError):
            folder, manifest, _ = durable.newest_folder(run.checkpoint_path(name))
            whole.append((manifest["step"], name == BEST, folder, manifest))
    if not whole:
        raise CheckpointError(
            f"{complaint}, and no other checkpoint of {run.path} is whole; train again into a new --out"
        )
    _, _, folder, manifest = max(whole, key=lambda found: found[:2])
    return folder, manifest, complaint


def _check_schema(manifest: dict[str, Any], folder: Path) -> None:
    if manifest["schema"] > SCHEMA:
        raise CheckpointError(
            f"{folder} was written by a newer pictorch (schema {manifest['schema']}, this one reads "
            f"{SCHEMA}); upgrade with `pip install -U pictorch`"
        )


def _with_own_names(optimizer_state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state with the very strings that optimisers use, so that it is saved as the same bytes."""
    states = {
        number: {sys.intern(name): value for name, value in one.items()}
        for number, one in optimizer_state["state"].items()
    }
    return {**optimizer_state, "state": states}


def _in_memory_of_their_own(network: nn.Module) -> dict[str, Tensor]:
    """Returns the weights as safetensors takes them: tied ones once for each of their names."""
    weights: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in network.state_dict().items():
        weight = tensor.detach().cpu().contiguous()
        memory = weight.untyped_storage().data_ptr()
        weights[name] = weight.clone() if memory in taken else weight
        taken.add(memory)
    return weights


def _read_weights(path: Path, group: Group = ALONE) -> dict[str, Tensor]:
    try:
        return load(group.told(path.read_bytes)) if group.is_joined else load_file(path)
    except (OSError, SafetensorError):
        raise CheckpointError(f"{path} is not a safetensors file; {_ANOTHER}") from None


def _read_state(path: Path, group: Group) -> dict[str, Any]:
    source = io.BytesIO(group.told(path.read_bytes)) if group.is_joined else path
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a file that is not its own
        raise CheckpointError(f"{path} is not the state of a training; {_ANOTHER}") from None
    assert isinstance(state, dict), path
    return state


def _load_weights(network: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        name = min(
            (n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)),
            key=lambda n: (n not in expected, n),
        )
        raise CheckpointError(
            f"{folder} does not fit the run's network: {name} is {found.get(name, 'missing')}, "
            f"expected {expected.get(name, 'nothing')}; put back the checkpoint or the network of this run, "
            "or train again into a new --out"
        )
    network.load_state_dict(weights)
