"""Weights that somebody trained, read without running anything: files, runs and bundles."""

import hashlib
import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pictorch import durable
from pictorch.bundle.bundle import MANIFEST, MODEL, is_zip_name, open_bundle
from pictorch.bundle.onnx_guard import float_weights
from pictorch.errors import CheckpointError, nearest, unreadable
from pictorch.images import shown
from pictorch.run_folder import WEIGHTS, RunFolder

# Where scripts put the weights inside a checkpoint.
_NESTS = ("state_dict", "model_state_dict", "model", "net")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

# What stands before the names in what pictorch writes: around the network, and around the classifier.
_NETWORK, _NORMALIZATION, _CLASSIFIER = "network.", "normalization.", "classifier."
_AGAIN = "save model.state_dict() with torch.save in its place"


@dataclass(frozen=True)
class StateDict:
    """The tensors of a network by the names in the file that they were read from, `origin`; on the CPU.

    A run or bundle also knows the names of the classes, in the order of its head's rows, and what the
    images were normalised with.
    """

    tensors: Mapping[str, Tensor]
    origin: str
    sha256: str
    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_state_dict(source: str | Path) -> StateDict:
    """Returns the weights of a .safetensors file, a file that torch.save wrote, a run, or a bundle.

    In a file they may lie under state_dict, model_state_dict, model or net. Of a run they are those of
    its judged checkpoint. Raises CheckpointError for what is missing or damaged, holds no weights or
    others than plain ones of 16, 32 or 64 bits, or would have to run code.
    """
    path = Path(source).expanduser()
    if is_zip_name(path) or (path / MANIFEST).exists():
        return _from_bundle(path)
    if path.is_dir():
        return _from_run(path)
    if not path.exists():
        raise CheckpointError(
            f"there are no weights at {source}{nearest(str(source), ['imagenet'])}; "
            "give a run, a bundle, or a .pth or .safetensors file"
        )
    return _from_file(path)


def brief(text: str, most: int = 60) -> str:
    """Returns a name or complaint of somebody's file as it can stand in a message: escaped and cut."""
    escaped = shown(text[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def refused_kind(origin: str, name: str, kind: str) -> CheckpointError:
    """Returns the error for a tensor that is no plain one of floats."""
    return CheckpointError(f"{origin} holds {brief(name)} as {kind}; save its weights as plain float32")


def _from_file(path: Path) -> StateDict:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} {unreadable(path, error)}") from None
    try:
        stored = load(data) if path.suffix == ".safetensors" else _load_tensors(data, path)
    except KeyError as error:  # a type of values that torch has not
        raise refused_kind(str(path), "tensors", brief(str(error.args[0]))) from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({brief(str(error), 100)}); copy it again") from None
    for nest in _NESTS:
        if isinstance(stored, Mapping) and isinstance(stored.get(nest), Mapping):
            stored = stored[nest]
            break
    entries = stored.items() if isinstance(stored, Mapping) else ()
    tensors = {str(name): value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no state dict; {_AGAIN}")
    for name in sorted(tensors):  # a safetensors file gives them in any order
        if kind := _odd_kind(tensors[name]):
            raise refused_kind(str(path), name, kind)
    return _unwrapped(tensors, str(path), hashlib.sha256(data).hexdigest())


def _odd_kind(tensor: Tensor) -> str | None:
    """Returns what a tensor is in place of a plain one of floats or integers."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return "a sparse or nested tensor"
    if tensor.device.type != "cpu":
        return f"a {tensor.device.type} tensor, without values"
    return None if tensor.dtype in (*_FLOATS, *_INTEGERS) else str(tensor.dtype).removeprefix("torch.")


def _from_run(path: Path) -> StateDict:
    run = RunFolder.open(path)
    name = run.choose_checkpoint(None)
    others = [other for other in run.checkpoints() if other != name]
    try:
        folder, _, complaint = durable.newest_folder(run.checkpoint_path(name))
    except CheckpointError as error:
        complaint = str(error)
    if complaint is not None:
        other = f"give {run.checkpoint_path(others[0]) / WEIGHTS}" if others else "give another run"
        raise CheckpointError(f"{complaint}; {other}")
    return replace(_from_file(folder / WEIGHTS), class_names=tuple(run.data()["class_names"]))


def _from_bundle(path: Path) -> StateDict:
    bundle = open_bundle(path)
    model = bundle.files[MODEL]
    weights = {
        name.removeprefix(_CLASSIFIER): torch.from_numpy(array.copy())
        for name, array in float_weights(model, f"{path}/{MODEL}").items()
        if name.startswith(_CLASSIFIER)
    }
    if f"{_NORMALIZATION}mean" not in weights:
        raise CheckpointError(
            f"{path} does not hold its weights as they were trained, only a graph computed from them; "
            "export its run again with `pictorch export RUN`, or give the run"
        )
    return _unwrapped(weights, str(path), hashlib.sha256(model).hexdigest(), bundle.class_names)


def _unwrapped(
    tensors: Mapping[str, Tensor], origin: str, sha256: str, class_names: tuple[str, ...] | None = None
) -> StateDict:
    """Returns the network's weights, and the normalisation that stands beside them in our own files."""
    mean, std = (tensors.get(f"{_NORMALIZATION}{name}") for name in ("mean", "std"))
    if mean is None or std is None:
        return StateDict(tensors, origin, sha256, class_names)
    inner = {n.removeprefix(_NETWORK): tensor for n, tensor in tensors.items() if n.startswith(_NETWORK)}
    return StateDict(inner, origin, sha256, class_names, tuple(mean.tolist()), tuple(std.tolist()))


def _load_tensors(data: bytes, path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # about files that are refused below
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        text = " ".join(str(error).split())
        named = re.search(r"GLOBAL ([\w.]+) ", text)
        wanted = named[1] if named else "TorchScript" if "TorchScript" in text else _wanted_by_pickle(data)
        if wanted is not None:
            raise CheckpointError(
                f"{path} would run {brief(wanted)} when it is read, and is refused; {_AGAIN}"
            ) from None
        if isinstance(error, pickle.UnpicklingError | IndexError):
            raise CheckpointError(f"{path} is not a file of tensors; {_AGAIN}") from None
        reason = brief(text, 100) or "it ends too early"
        raise CheckpointError(f"{path} is damaged ({reason}); copy it again") from None


def _wanted_by_pickle(data: bytes) -> str | None:
    """Returns the first thing that a plain pickle would import, found by reading its opcodes only."""
    texts: list[str] = []
    with suppress(Exception):  # not a pickle, or one that is cut off
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                name = ".".join(texts[-2:] if argument is None else str(argument).split())
                return name if re.fullmatch(r"[\w.]+", name) else None
            if isinstance(argument, str):
                texts.append(argument)
    return None
