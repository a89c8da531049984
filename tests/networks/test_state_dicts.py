"""Weights that somebody trained: every form that they come in, and files that must be refused unrun."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pictorch.errors import CheckpointError
from pictorch.networks.state_dicts import read_state_dict

STATE = {"conv.weight": torch.randn(2, 3, 3, 3), "conv.bias": torch.zeros(2)}
WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "accuracy": 0.6},
    "model_state_dict": lambda state: {"epoch": 9, "model_state_dict": state, "optimizer_state_dict": {}},
    "net": lambda state: {"net": state},
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("suffix", ["pth", "pt", "bin"])
def test_what_scripts_save_is_found(wrap: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"their.{suffix}"
    torch.save(WRAPPED[wrap](STATE), path)
    read = read_state_dict(path)
    assert read.tensors.keys() == STATE.keys()
    assert all(torch.equal(read.tensors[name], STATE[name]) for name in STATE)
    assert read.origin == str(path)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (read.class_names, read.mean, read.std) == (None, None, None)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    read = read_state_dict(tmp_path / "weights.safetensors").tensors
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(STATE, tmp_path / "their.pth")
    assert read_state_dict("~/their.pth").tensors.keys() == STATE.keys()


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("must-not-be-made",)


def cut(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def cut_old_form(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:2000])


def flipped(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 1] ^= 255
    path.write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (lambda path: torch.save({"state_dict": Runs()}, path), "would run posix.mkdir when it is read"),
    "old form": (
        lambda path: torch.save(Runs(), path, _use_new_zipfile_serialization=False),
        "would run posix.mkdir",
    ),
    "whole model": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        "would run torch.nn.modules.linear.Linear",
    ),
    **{
        f"pickle {protocol}": (
            lambda path, protocol=protocol: path.write_bytes(pickle.dumps({"a": Runs()}, protocol)),
            "would run posix.mkdir",
        )
        for protocol in range(6)
    },
    "cut": (cut, "is damaged"),
    "cut old form": (cut_old_form, "is damaged"),
    "flipped": (flipped, "is damaged"),
    "empty": (Path.touch, "is damaged (it ends too early)"),
    "text": (lambda path: path.write_text("these are no weights"), "is not a file of tensors"),
    "recipe": (lambda path: path.write_text("conv: 3\nfc: 4\nx\n"), "is not a file of tensors"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "is not a file of tensors"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "holds no state dict"),
    "one tensor": (lambda path: torch.save(torch.zeros(3), path), "holds no state dict"),
    "sparse": (lambda path: torch.save({"a": torch.eye(3).to_sparse()}, path), "holds a as a sparse"),
    "no values": (
        lambda path: torch.save({"a": torch.zeros(3, device="meta")}, path),
        "holds a as a meta tensor, without values; save its weights as plain float32",
    ),
    **{
        name: (
            lambda path, name=name: torch.save({"a": torch.zeros(3, dtype=getattr(torch, name))}, path),
            f"holds a as {name}; ",
        )
        for name in ("float8_e4m3fn", "complex64", "uint16")
    },
    "name with codes": (
        lambda path: torch.save({"a\nb\x1b[31mRED": torch.zeros(3, dtype=torch.complex64)}, path),
        r"holds a\nb\x1b[31mRED as complex64; ",
    ),
    "long name": (
        lambda path: torch.save({"a" * 3000: torch.zeros(3, dtype=torch.complex64)}, path),
        f"holds {'a' * 59}… as complex64; ",
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_cannot_be_trusted_are_refused(kind: str, tmp_path: Path) -> None:
    make, says = REFUSED[kind]
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert says in message
    assert len(message.splitlines()) == 1
    assert len(message) - len(str(path)) < 230
    assert not Path("must-not-be-made").exists()


def test_a_cut_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_state_dict(path)


def safetensors_of(dtype: str, shape: str = "[4]") -> bytes:
    header = f'{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [0, 4]}}}}'.encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def test_safetensors_of_odd_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    cases = {
        "F8_E8M0": "as F8_E8M0; ",
        "F8_E5M2": "as float8_e5m2; ",
        "F\\u001b[31m" + "x" * 3000: "is damaged",
    }
    for dtype, says in {**cases, "F4": "as F4; "}.items():
        path.write_bytes(safetensors_of(dtype, "[8]" if dtype == "F4" else "[4]"))
        with pytest.raises(CheckpointError, match=says) as caught:
            read_state_dict(path)
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) - len(str(path)) < 150


def test_what_is_not_there_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there are no weights at nowhere\.pth; give a run, a bundle"):
        read_state_dict("nowhere.pth")
    with pytest.raises(CheckpointError, match=r"imagnet \(did you mean imagenet\?\)"):
        read_state_dict("imagnet")
    with pytest.raises(CheckpointError, match="is not a run folder"):
        read_state_dict(tmp_path)
