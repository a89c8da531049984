"""Networks of the user's own inside the classifier."""

import pytest
import torch
from torch import Tensor, nn

from own_module import write_own_net
from pictorch import cli
from pictorch.errors import RecipeError
from pictorch.exporting.network_list import models
from pictorch.images import InputSpec
from pictorch.networks import build_network, name_problem
from pictorch.networks.summary import summarize
from pictorch.networks.zoo import is_own
from pictorch.recipe import ModelSection

SPEC = InputSpec(stored_size=8, image_size=8)
OBJECT = ModelSection(name="object:net")


class Recurrent(nn.Module):
    """Reads an image row by row; its first layer gives a tuple, its last is made at the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(24, 6, batch_first=True)
        self.fc = nn.LazyLinear(3)

    def forward(self, images_nchw: Tensor) -> Tensor:
        rows = images_nchw.permute(0, 2, 1, 3).flatten(2)
        logits: Tensor = self.fc(self.rows(rows)[0].flatten(1))
        return logits


@pytest.mark.parametrize("name", ["mine:build", "a.b.c:Net", "_x1:f", "object:Net"])
def test_names_of_own_functions_are_taken_without_importing(name: str) -> None:
    assert is_own(name)
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name", ["lenet", "torchvision:resnet18", "timm:resnet18", "a-b:f", "a:b:c", "a..b:f", ":f", "a:"]
)
def test_other_names_are_not(name: str) -> None:
    assert not is_own(name)


def test_fresh_weights_of_a_function_come_from_torchs_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch)

    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = ModelSection(name="own_net_of_mine:OwnNetOfMine")
        return next(build_network(model, 3, SPEC).parameters()).detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_module_is_copied_with_its_weights() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    before = net[1].weight.clone()
    built = build_network(OBJECT, 3, SPEC, own=net).network
    assert isinstance(built, nn.Sequential)
    assert torch.equal(built[1].weight.double(), before.float().double())
    with torch.no_grad():
        built[1].weight.zero_()
    assert torch.equal(net[1].weight, before), "the user's own stays as it was"


def test_options_apply_where_they_can() -> None:
    net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Dropout(0.1), nn.Linear(192, 3))
    model = OBJECT.model_copy(update={"dropout": 0.4, "activation": "gelu"})
    built = build_network(model, 3, SPEC, own=net).network
    assert isinstance(built, nn.Sequential)
    assert isinstance(built[1], nn.GELU)
    assert built[2].p == 0.4
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    for option in ({"dropout": 0.4}, {"activation": "gelu"}, {"stem": "small"}):
        with pytest.raises(RecipeError, match=r"object:net has .*; leave out "):
            build_network(OBJECT.model_copy(update=option), 3, SPEC, own=plain)


def test_recurrent_and_lazy_layers_can_be_built_trained_and_shown() -> None:
    built = build_network(OBJECT, 3, SPEC, own=lambda classes, size: Recurrent())
    built(torch.zeros((2, 8, 8, 3), dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())
    rows = {row["name"]: row for row in summarize(built, "mine")["layers"]}
    assert rows["network.rows"]["output_shape"] == [8, 6]
    assert rows["network.fc"]["parameters"] == 48 * 3 + 3


def test_models_shows_an_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch)
    (summary,) = models("own_net_of_mine:OwnNetOfMine", num_classes=3, image_size=8)
    assert summary["parameters"] == 3 * 8 * 9 + 8 + 128 * 3 + 3
    assert cli.main(["models", "own_net_of_mine:OwnNetOfMine", "--image-size", "8"]) == 0


@pytest.mark.parametrize("body", ["raise SystemExit", "return Ends()"])
def test_a_function_or_network_that_ends_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    ends = "class Ends(nn.Linear):\n    __init__ = lambda self: super(Ends, self).__init__(1, 1)\n"
    ends += "    def forward(self, images_nchw):\n        raise SystemExit\n"
    write_own_net(monkeypatch, f"from torch import nn\n{ends}def make(*sizes):\n    {body}\n")
    with pytest.raises(RecipeError, match=r"SystemExit"):
        build_network(ModelSection(name="own_net_of_mine:make"), 3, SPEC)
