"""Weights from elsewhere: missing, damaged, hostile, of other networks and classes; files that are converted."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from messages.case import Case, Remedy, again, instead, succeeds, typed
from messages.cases_bundles import sealed
from messages.cases_runs import damaged
from messages.faults import mirror, ordinary_rights
from messages.material import CLASSES, recipe, run
from pictorch import cli
from pictorch.images import InputSpec
from pictorch.networks import build_network, imagenet
from pictorch.networks.state_dicts import read_state_dict
from pictorch.recipe import ModelSection
from tiny_bundle import tiny_model

TRAIN = "train small.yaml -q --out out"
FROM_FILE = f"{TRAIN} --set model.weights=their.pth"
FROM_RUN = f"{TRAIN} --set model.weights=run"
CONVERT = "convert their.pth --recipe small.yaml --out out -q"
FITS = f"{CONVERT} --model simple_net"

State = dict[str, Tensor]


def their_file(change: Callable[[State], Any] = lambda state: state, name: str = "their.pth") -> Path:
    """Saves the weights of a trained simple_net for the three classes as somebody's script would."""
    if not Path("run").exists():
        run()
    torch.save(change(dict(read_state_dict("run").tensors)), name)
    return Path(name)


def saved(change: Callable[[State], Any] = lambda state: state) -> Callable[[], None]:
    def setup() -> None:
        recipe()
        their_file(change)

    return setup


def of_bytes(data: bytes) -> Callable[[], None]:
    def setup() -> None:
        recipe()
        Path("their.pth").write_bytes(data)

    return setup


def cut() -> None:
    saved()()
    Path("their.pth").write_bytes(Path("their.pth").read_bytes()[:3000])


def cut_safetensors() -> None:
    recipe()
    save_file({"conv1.weight": torch.zeros(100)}, "their.safetensors")
    Path("their.safetensors").write_bytes(Path("their.safetensors").read_bytes()[:-9])


def safetensors_of_four_bits() -> None:
    recipe()
    header = b'{"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}'
    Path("their.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


class Hostile:
    """Asks the reader of its pickle to run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


def four_classes(state: State) -> State:
    return {name: torch.cat([value, value[:1]]) if "fc1" in name else value for name, value in state.items()}


def not_finite(state: State) -> State:
    state["conv2.bias"][0] = float("inf")
    return state


def another_network() -> None:
    recipe()
    network = build_network(ModelSection(name="cifar10_cnn"), 3, InputSpec(8, 8)).network
    torch.save(network.state_dict(), "their.pth")


def unusual_bundle(model: onnx.ModelProto | None = None) -> None:
    recipe()
    run()
    sealed(None if model is None else {"model.onnx": model.SerializeToString()})()


def bundle_of_another_size() -> None:
    model = tiny_model()
    model.graph.initializer[0].dims.append(7)
    unusual_bundle(model)


def begun_with_others() -> None:
    """A run that was killed before its first checkpoint, and whose weights then changed."""
    saved()()
    assert cli.main([*FROM_FILE.split()[:-2], "--set", "model.weights=their.pth"]) == 0
    shutil.rmtree("out/checkpoints")
    facts = json.loads(Path("out/run.json").read_bytes())
    Path("out/run.json").write_text(json.dumps({**facts, "finished_epoch": None}))
    shutil.copy("their.pth", "kept.pth")
    their_file(lambda state: {"net": state, "epoch": 2})


# --- torchvision's ----------------------------------------------------------------------------------


def published(address: str) -> Any:
    """What torchvision would know of weights of simple_net that lie at an address."""
    digits = hashlib.sha256(Path("good.safetensors").read_bytes()).hexdigest()[:8]
    return SimpleNamespace(
        name="IMAGENET1K_V1",
        url=f"{address.rpartition('/')[0]}/simple-{digits}.safetensors",
        meta={"categories": CLASSES},
        transforms=lambda: SimpleNamespace(mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2]),
    )


@contextmanager
def as_published(address: str = "https://nowhere.invalid/x") -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "_entry", lambda name: published(address))
        yield


@contextmanager
def another_in_the_cache() -> Iterator[None]:
    with as_published():
        path = Path("cache/pictorch/data") / Path(published("https://nowhere.invalid/x").url).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another file")
        yield


def removed_and_downloaded(case: Case, message: str) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(Path("good.safetensors").read_bytes())

    Path(message.partition(" ")[0]).unlink()
    with mirror(answer) as address, as_published(address), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICTORCH_OFFLINE", "0")
        succeeds(case.words)


def refused(name: str, names: str, setup: Callable[[], object], remedy: Remedy | None = None) -> Case:
    """A case of their.pth; a good one takes its place."""
    return Case(name, FROM_FILE, 4, names, remedy or again(their_file), setup)


# fmt: off
CASES = [
    refused("weights that are not there", "there are no weights at their.pth", recipe),
    Case("weights without rights", FROM_FILE, 4, "their.pth cannot be read", typed(), lambda: (saved()(), Path("their.pth").chmod(0)), ordinary_rights),
    Case("safetensors that are cut off", f"{TRAIN} --set model.weights=their.safetensors", 4, "their.safetensors is damaged", again(lambda: save_file(dict(read_state_dict(run()).tensors), "their.safetensors")), cut_safetensors),
    refused("weights that are cut off", "their.pth is damaged", cut),
    refused("weights that run something", "would run posix.getcwd when it is read", saved(lambda state: {"state_dict": state, "more": Hostile()})),
    refused("text in place of weights", "their.pth is not a file of tensors", of_bytes(b"these are no weights")),
    refused("checkpoint without weights in it", "their.pth holds no state dict", saved(lambda state: {"epoch": 3})),
    refused("sparse weights", "holds fc1.bias as a sparse", saved(lambda state: {**state, "fc1.bias": state["fc1.bias"].to_sparse()})),
    refused("weights without values", "holds fc1.bias as a meta tensor", saved(lambda state: {**state, "fc1.bias": state["fc1.bias"].to("meta")})),
    refused("weights of eight bits", "as float8_e4m3fn; save its weights as plain float32", saved(lambda state: {name: value.to(torch.float8_e4m3fn) for name, value in state.items()})),
    refused("integers as weights", "holds fc1.bias as int8", saved(lambda state: {**state, "fc1.bias": state["fc1.bias"].to(torch.int8)})),
    refused("name that would colour the terminal", r"holds a\nb\x07c as complex64", saved(lambda state: {**state, "a\nb\ac": torch.zeros(2, dtype=torch.complex64)})),
    Case("safetensors of a type that torch has not", f"{TRAIN} --set model.weights=their.safetensors", 4, "holds tensors as F4", again(lambda: save_file(dict(read_state_dict(run()).tensors), "their.safetensors")), safetensors_of_four_bits),
    refused("weights of another architecture", "0% of the network's values only", another_network, instead(f"{FROM_FILE} --set model.name=cifar10_cnn", says="give the model.name that was saved")),
    refused("weights of another class count", "has 4 classes, and the data 3", saved(four_classes), typed()),
    refused("weights that are not finite", "conv2.bias has values that are not finite", saved(not_finite)),
    Case("weights of a damaged run", FROM_RUN, 4, "run/checkpoints/best is damaged", instead(f"{FROM_RUN}/checkpoints/last/model.safetensors", says="give "), lambda: (recipe(), damaged("best")())),
    Case("bundle that does not keep its weights", f"{TRAIN} --set model.weights=bundle", 4, "only a graph computed from them", instead(FROM_RUN, says="or give the run"), unusual_bundle),
    Case("bundle with weights of another size", f"{TRAIN} --set model.weights=bundle", 4, "bundle/model.onnx is not an ONNX model", instead(FROM_RUN, says="`pictorch export RUN`"), bundle_of_another_size),
    Case("ImageNet for a network of ours", f"{TRAIN} --set model.weights=imagenet", 2, "simple_net is none", typed(), recipe),
    Case("another file of ImageNet's name", f"{TRAIN} --set model.weights=imagenet", 4, "is not what torchvision published", removed_and_downloaded, lambda: (recipe(), save_file(dict(read_state_dict(run()).tensors), "good.safetensors")), another_in_the_cache),
    Case("weights that changed since", "train --resume out -q", 4, "their.pth has changed since out was begun", again(lambda: shutil.copy("kept.pth", "their.pth")), begun_with_others),
    Case("converted weights of another network", f"{CONVERT} --model cifar10_cnn", 4, "does not fit cifar10_cnn for 3 classes", instead(FITS, says="give the --model and --data"), saved()),
    Case("converted weights of other classes", "convert run --recipe small.yaml --out out -q --model simple_net", 4, "its classes are blue, green, red", again(lambda: Path("photos/pink").rename("photos/red")), lambda: (saved()(), Path("photos/red").rename("photos/pink"))),
    Case("converted by the tutorials' name", f"{CONVERT} --model SimpleNet", 2, "SimpleNet is simple_net here", typed(), saved()),
    Case("converted without a recipe", "convert their.pth --model torchvision:vgg11 --out out -q", 2, "no packaged recipe says", instead(FITS, says="give --recipe RECIPE"), saved()),
]
# fmt: on
