"""ImageNet's weights from a server on this machine: asked once, known by their hash, found where they lie."""

import hashlib
import io
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from messages.faults import mirror
from pictorch.errors import CheckpointError, RecipeError
from pictorch.networks import imagenet
from pictorch.networks.imagenet import imagenet_weights

STATE = {"conv1.weight": torch.arange(8.0)}


def content() -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


CONTENT = content()
NAME = f"made-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Server:
    """Counts what it is asked for; `content` is what it sends."""

    def __init__(self) -> None:
        self.content, self.asked = CONTENT, 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.content)))
        request.end_headers()
        request.wfile.write(self.content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    served = Server()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    monkeypatch.delenv("PICTORCH_OFFLINE")
    with mirror(served.answer) as address:
        entry = SimpleNamespace(
            name="IMAGENET1K_V1",
            url=f"{address.rpartition('/')[0]}/models/{NAME}",
            meta={"categories": ["tench", "goldfish"]},
            transforms=lambda: SimpleNamespace(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        )
        monkeypatch.setattr(imagenet, "_entry", lambda name: entry)
        yield served


def test_asked_once_with_address_and_size_and_then_found(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        weights = imagenet_weights("resnet34", lines.append)
    assert server.asked == 1
    assert re.match(
        rf"downloading {NAME} \(0\.0 MB\) from http://127\.0\.0\.1:\d+/models/{NAME} into ", lines[0]
    )
    path = tmp_path / "cache/pictorch/data" / NAME
    assert weights.origin == f"torchvision's IMAGENET1K_V1 at {path}"
    assert weights.sha256.startswith(NAME[5:13])
    assert weights.class_names == ("tench", "goldfish")
    assert weights.mean == (0.485, 0.456, 0.406)
    assert torch.equal(weights.tensors["conv1.weight"], STATE["conv1.weight"])


@pytest.mark.parametrize("place", ["torch/hub/checkpoints", "data", "cache/pictorch/data"])
def test_found_where_it_lies(
    place: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "data":
        monkeypatch.setenv("PICTORCH_DATA", str(tmp_path / "data"))
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / NAME).write_bytes(CONTENT)
    assert imagenet_weights("resnet34", print).origin.endswith(f"{place}/{NAME}")
    assert server.asked == 0


def test_another_file_of_that_name_is_refused(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache/pictorch/data" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(CheckpointError, match=r"is not what torchvision published .* remove it"):
        imagenet_weights("resnet34", print)
    path.unlink()
    imagenet_weights("resnet34", print)


def test_a_server_that_sends_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = bytes(len(CONTENT))
    with pytest.raises(CheckpointError, match="sends another file, whose sha256 differs"):
        imagenet_weights("resnet34", print)
    assert not list((tmp_path / "cache").rglob("*.pth"))


def test_offline_asks_nobody(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTORCH_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="PICTORCH_OFFLINE forbids a download; unset it, or put http"):
        imagenet_weights("resnet34", print)
    assert server.asked == 0


@pytest.mark.parametrize("name", ["googlenet", "torchvision:inception_v3"])
def test_networks_that_normalise_once_more_are_given_its_result(name: str, server: Server) -> None:
    weights = imagenet_weights(name, print)
    assert (weights.mean, weights.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", ["lenet", "timm:resnet18", "own.module:function"])
def test_networks_of_nobody_elses_have_none(name: str) -> None:
    with pytest.raises(RecipeError, match=f"imagenet is for networks of torchvision, and {name} is none"):
        imagenet_weights(name, print)


@pytest.mark.slow
def test_all_of_torchvisions_carry_their_hash() -> None:
    import torchvision.models

    for name in torchvision.models.list_models(module=torchvision.models):
        entry = imagenet._entry(f"torchvision:{name}")
        assert re.search(r"-[0-9a-f]{8,}\.pth$", entry.url), name
        assert entry.name.endswith("V1"), name
        assert len(entry.meta["categories"]) == 1000
    assert imagenet._entry("resnet34").url.endswith("/resnet34-b627a593.pth")
