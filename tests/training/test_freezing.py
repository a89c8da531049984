"""What is frozen does not move, keeps its statistics, and learns again when its epoch comes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pictorch.errors import RecipeError
from pictorch.recipe import TrainSection
from pictorch.training.console import Console
from pictorch.training.freezing import Freezing
from pictorch.training.optimizers import OPTIMIZERS
from pictorch.training.start import train

QUIET = Console("quiet")


def make_network() -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return nn.Sequential(features, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def frozen_by(epoch: int = 0, **section: Any) -> tuple[set[str], set[str]]:
    """Returns the names of frozen parameters and of batch norms in evaluation mode, in an epoch."""
    network = make_network().train()
    Freezing(TrainSection(epochs=9, **section), network).apply(epoch)
    return (
        {name for name, parameter in network.named_parameters() if not parameter.requires_grad},
        {name for name, layer in network.named_modules() if not layer.training},
    )


def test_nothing_is_frozen_unless_asked_for() -> None:
    assert frozen_by() == (set(), set())


def test_patterns_of_names() -> None:
    features = {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}
    assert frozen_by(freeze=["0.*"]) == (features, {"0.1"})
    assert frozen_by(freeze=["0.?.weight", "3.bias"]) == ({"0.0.weight", "0.1.weight", "3.bias"}, set())
    assert frozen_by(freeze=["*.weight", "1.bias"])[1] == {"1"}, "both of its parameters are frozen"


def test_the_backbone_is_all_but_the_head() -> None:
    assert frozen_by(freeze=["backbone"]) == (
        {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "1.weight", "1.bias"},
        {"0.1", "1"},
    )


def test_it_is_a_function_of_the_epoch() -> None:
    frozen, all_learn = frozen_by(freeze=["0.*"]), (set(), set())
    assert [frozen_by(epoch, freeze=["0.*"], unfreeze_epoch=2) for epoch in (0, 1, 2, 8)] == [
        *(frozen, frozen),
        *(all_learn, all_learn),
    ]
    assert frozen_by(8, freeze=["0.*"]) == frozen
    late = [frozen_by(epoch, freeze=["0.*"], freeze_epoch=2) for epoch in (0, 1, 2, 8)]
    assert late == [all_learn, all_learn, frozen, frozen]
    between = [frozen_by(epoch, freeze=["0.*"], freeze_epoch=1, unfreeze_epoch=3) for epoch in range(4)]
    assert between == [all_learn, frozen, frozen, all_learn]


def test_what_the_network_keeps_fixed_is_never_unfrozen() -> None:
    network = make_network()
    network[0].requires_grad_(False)
    Freezing(TrainSection(epochs=2, freeze=["0.*", "1.*"], unfreeze_epoch=1), network).apply(1)
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == {
        *("0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias")
    }


def test_frozen_layers_run_without_autograd() -> None:
    network = make_network()
    Freezing(TrainSection(epochs=1, freeze=["backbone"]), network).apply(0)
    assert not network[:3](torch.rand(2, 3, 3, 3)).requires_grad


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["O.*"], r"unknown parameter 'O\.\*'.*; known: 0\.0\.bias"),
        (["0.*", "0.0.weigth"], r"unknown parameter '0\.0\.weigth' \(did you mean 0\.0\.weight\?\)"),
        (["*"], r"nothing is left to learn; .*`--set 'train\.freeze=\[backbone\]'`"),
        (["backbone", "3.*"], "nothing is left to learn"),
    ],
)
def test_patterns_that_cannot_be_meant(patterns: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=rf"train\.freeze: {says}"):
        frozen_by(freeze=patterns)


def test_a_network_that_is_fixed_as_a_whole_is_told_apart_from_patterns() -> None:
    with pytest.raises(RecipeError, match=r"model\.name: no parameter of the network learns"):
        Freezing(TrainSection(epochs=1), make_network().requires_grad_(False))


def moved(run: str, before: str, after: str) -> set[str]:
    """Returns the names of what differs between two checkpoints."""
    one, other = (
        load_file(Path(run) / "checkpoints" / name / "model.safetensors") for name in (before, after)
    )
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize(
    "name", ["muon", *(pytest.param(each, marks=pytest.mark.slow) for each in OPTIMIZERS if each != "muon")]
)
def test_frozen_layers_do_not_move_in_a_training(busy_recipe: dict[str, Any], name: str) -> None:
    """Nor do their averages and statistics, under weight decay, clipping and accumulation."""
    busy_recipe["optimizer"] = {"name": name, "lr": 0.01, "weight_decay": 0.5, "muon_weight_decay": 0.5}
    busy_recipe["train"] |= {
        "epochs": 3,
        "batch_size": 256,
        "save_every_epochs": 1,
        "freeze": ["backbone"],
        "unfreeze_epoch": 2,
    }
    train(busy_recipe, out="run", console=QUIET)
    head = {"network.classifier.4.weight", "network.classifier.4.bias"}
    assert moved("run", "epoch-0001", "epoch-0002") == head
    everything = load_file("run/checkpoints/last/model.safetensors").keys()
    assert moved("run", "epoch-0002", "epoch-0003") == everything - {
        "normalization.mean",
        "normalization.std",
    }
