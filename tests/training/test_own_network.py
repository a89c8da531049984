"""A network of the user's own that cannot learn is refused before the run; tied weights go the whole way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import pictorch
from pictorch.errors import RecipeError
from pictorch.training.console import Console
from pictorch.training.ema import WeightAverage

QUIET = Console("quiet")


class HeadFirst(nn.Module):
    """Registers its last layer before the others."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(16, num_classes)
        self.body = nn.Linear(3 * image_size**2, 16)

    def forward(self, images_nchw: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images_nchw.flatten(1)).relu())
        return logits


class Tied(nn.Module):
    """Has one matrix under two names."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.body, self.head = nn.Linear(3 * image_size**2, 16), nn.Linear(16, num_classes)

    def forward(self, images_nchw: Tensor) -> Tensor:
        features = self.first(self.body(images_nchw.flatten(1)).relu())
        logits: Tensor = self.head(self.second(features).relu())
        return logits


def train(model: Any, **changes: Any) -> None:
    settings = {
        "train.epochs": 1,
        "train.threads": 1,
        **{k.replace("__", "."): v for k, v in changes.items()},
    }
    pictorch.train("digits", model=model, out="run", set=settings, console=QUIET)


@pytest.mark.parametrize(
    ("field", "value"), [("train__freeze", ["backbone"]), ("optimizer__backbone_lr_factor", 0.1)]
)
def test_a_head_that_is_not_registered_last_is_not_guessed(field: str, value: Any) -> None:
    says = (
        r"HeadFirst was not found \(body, registered last, gives 16 numbers, not 10\); register it last, or "
    )
    with pytest.raises(RecipeError, match=says):
        train(HeadFirst, **{field: value})
    assert not Path("run").exists()


def test_it_matters_only_where_a_field_needs_it() -> None:
    train(HeadFirst, train__freeze=["body.*"])


def test_weights_for_a_head_that_is_not_registered_last_are_refused() -> None:
    torch.save(HeadFirst(10, 8).state_dict(), "weights.pth")
    with pytest.raises(
        RecipeError, match=r"^model.weights: .*; register it last, or leave out model.weights"
    ):
        train(HeadFirst, model__weights="weights.pth")


def detached(logits: Tensor, network: nn.Module) -> object:
    return logits.detach() if network.training else logits


def with_another(logits: Tensor, network: nn.Module) -> object:
    return (logits, logits) if network.training else logits


def failing(logits: Tensor, network: nn.Module) -> object:
    return logits.missing if network.training else logits


def narrow(logits: Tensor, network: nn.Module) -> object:
    return logits[:, :3] if network.training else logits


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (detached, "gives logits without a gradient"),
        (with_another, "gives a tuple, not logits"),
        (failing, "fails .AttributeError"),
        (narrow, r"gives an output of shape \(2, 3\), not \(2, 10\)"),
    ],
)
def test_a_network_that_cannot_learn_is_refused_before_the_run(changed: Any, says: str) -> None:
    class Changed(HeadFirst):
        def forward(self, images_nchw: Tensor) -> Any:
            return changed(super().forward(images_nchw), self)

    with pytest.raises(RecipeError, match=f"object:Changed in training mode {says}"):
        train(Changed)
    assert not Path("run").exists()


def test_trying_leaves_the_statistics_as_they_were() -> None:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))
    given = nn.Sequential(*layers)
    train(lambda classes, size: given, optimizer__lr=1e-12, train__batch_size=1797)
    assert int(given.get_buffer("1.num_batches_tracked")) == 1, "the one step of the training"


def test_tied_weights_are_saved_judged_and_resumed() -> None:
    train(Tied, train__ema_decay=0.9)
    weights = load_file("run/checkpoints/last/model.safetensors")
    assert torch.equal(weights["network.first.weight"], weights["network.second.weight"])
    assert pictorch.evaluate("run", model=Tied).n > 0
    assert pictorch.train(resume="run", model=Tied, epochs=2, console=QUIET).epochs == 2


def test_the_average_of_tied_weights_moves_once() -> None:
    network = Tied(3, 2)
    average, before = WeightAverage(network, 0.5), network.first.weight.detach().clone()
    with torch.no_grad():
        network.first.weight.add_(1.0)
    average.update(1_000)
    torch.testing.assert_close(average.network.get_parameter("first.weight"), before + 0.5)
