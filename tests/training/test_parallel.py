"""Networks whose gradients are averaged, here over a group of one: what they use, and what not."""

import json
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from own_module import write_own_net
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, build_network, zoo
from pictorch.recipe import ModelSection
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.parallel import unused_parameters
from pictorch.training.start import train

INPUT = InputSpec(stored_size=32, image_size=32)
PARTLY_USED = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.spare = nn.Linear(4, 4)
        self.head = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images_nchw):
        return self.head(self.norm(images_nchw).flatten(1))
"""


@pytest.fixture
def group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun starts with one process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in place.items():
        monkeypatch.setenv(name, value)


def losses(recipe: dict[str, Any], out: str) -> list[float]:
    run = RunFolder(Path(train(recipe, out=out, console=Console("quiet")).run))
    return [line["loss"] for line in run.metrics() if line["kind"] == "step"]


def in_both(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[float]]:
    """Returns the losses in the group, and those of a process alone."""
    together = losses(recipe, "together")
    monkeypatch.delenv("WORLD_SIZE")
    return together, losses(recipe, "alone")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.usefixtures("group_of_one")
def test_a_known_network_with_layers_that_it_does_not_use(
    plain_recipe: dict[str, Any], accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is known that has such layers, so simple_net is made one."""
    write_own_net(monkeypatch, PARTLY_USED, name="partly_used")
    partly_used = build_network(ModelSection(name="partly_used:Net"), 10, INPUT).network
    monkeypatch.setitem(zoo._SIZED_NETWORKS, "simple_net", type(partly_used))
    plain_recipe["train"] |= {"epochs": 0.2, "log_every_steps": 1, "accumulate": accumulate}
    together, alone = in_both(plain_recipe, monkeypatch)
    assert len(alone) == 4
    assert together == pytest.approx(alone, rel=1e-9)


@pytest.mark.usefixtures("group_of_one")
def test_an_own_network_uses_what_it_wants_without_a_word(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("partly", PARTLY_USED), ("whole", PARTLY_USED.replace("self.spare", "# "))):
        write_own_net(monkeypatch, text, name=f"{name}_used")
        recipe = {**plain_recipe, "model": {"name": f"{name}_used:Net"}}
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as on the command line, where they are shown
            train(recipe, out=name, console=Console("normal"))
        assert "find_unused" not in capfd.readouterr().err
        assert RunFolder.open(name).facts()["finished_epoch"] == 1


@pytest.mark.slow
def test_our_networks_use_all_that_they_have() -> None:
    for name in NETWORKS:
        network = build_network(ModelSection(name=name), 10, INPUT)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        assert unused_parameters(network) == [], name
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), name


def test_what_the_logits_do_not_depend_on_is_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch, PARTLY_USED, name="partly_used")
    network = build_network(ModelSection(name="partly_used:Net"), 10, INPUT)
    assert unused_parameters(network) == ["network.spare.weight", "network.spare.bias"]
    network.network.get_parameter("norm.weight").requires_grad_(False)
    assert unused_parameters(network) == ["network.spare.weight", "network.spare.bias"]


@pytest.mark.usefixtures("group_of_one")
def test_a_run_that_compiled_says_that_it_goes_on_without(
    plain_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plain_recipe["train"] |= {"epochs": 0.1}
    run = Path(train(plain_recipe, out="run", console=Console("quiet")).run)
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("compile: auto", "compile: true"))
    environment = json.loads((run / "environment.json").read_text())
    environment["auto"]["train.compile"]["value"] = True
    (run / "environment.json").write_text(json.dumps(environment))
    assert RunFolder.open(run).recipe().train.compile is True
    train(resume=run, epochs=2, console=Console("normal"))
    assert "will not be bit-exact: train.compile: True -> False" in capsys.readouterr().err
