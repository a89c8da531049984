"""What a recipe changes in any network: dropout, activation, first weights."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, Classifier, build_network
from pictorch.networks.options import ACTIVATIONS, apply_options
from pictorch.recipe import ModelSection

CIFAR = InputSpec(stored_size=32, image_size=32)


@cache
def described(name: str, **options: Any) -> Classifier:
    """Returns a network without numbers, to be looked at only."""
    with torch.device("meta"):
        return built(name, **options)


def built(name: str, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return build_network(ModelSection(name=name, **options), 10, CIFAR)


def kinds(classifier: Classifier) -> list[type[nn.Module]]:
    return [type(layer) for layer in classifier.modules()]


@pytest.mark.parametrize(("asked", "share"), [(None, 0.5), (0.0, 0.0), (0.25, 0.25)])
@pytest.mark.parametrize("name", ["cifar10_cnn", "small_bn_cnn", "alexnet"])
def test_dropout_is_set_everywhere(name: str, asked: float | None, share: float) -> None:
    layers = described(name, dropout=asked).modules()
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {share}


@pytest.mark.parametrize("name", ["simple_net", "lenet", "resnet18"])
def test_dropout_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^model\.dropout: {name} has no dropout; leave out 0\.1$"):
        built(name, dropout=0.1)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        pytest.param(
            name,
            activation,
            marks=[] if activation == "tanh" or name == "cifar10_cnn" else [pytest.mark.slow],
        )
        for name in NETWORKS
        for activation in ACTIVATIONS
    ],
)
def test_every_network_takes_every_activation(name: str, activation: str) -> None:
    own, changed = described(name), described(name, activation=activation)
    assert type(ACTIVATIONS[activation]()) in kinds(changed)
    assert own.state_dict().keys() == changed.state_dict().keys()
    if activation == "tanh":
        assert not {nn.ReLU, nn.ReLU6, nn.SiLU} & set(kinds(changed))


def test_the_gates_of_efficientnet_stay() -> None:
    def gates(classifier: Classifier) -> int:
        return kinds(classifier).count(nn.Sigmoid)

    assert gates(described("efficientnet_b0", activation="tanh")) == gates(described("efficientnet_b0")) > 0


def test_an_activation_is_refused_where_there_is_no_layer_of_it() -> None:
    with pytest.raises(
        RecipeError, match=r"^model\.activation: own has no activation layer; leave out gelu$"
    ):
        apply_options(nn.Linear(3, 3), ModelSection(name="own", activation="gelu"))


@pytest.mark.parametrize(("init", "gain"), [("kaiming", 2.0), ("xavier", 1.0)])
def test_drawn_weights_have_the_deviation_of_their_method(init: str, gain: float) -> None:
    layer = built("cifar10_cnn", init=init).network.get_submodule("classifier.1")
    fans = (4096, 4096) if init == "kaiming" else (4096, 512)
    assert layer.weight.std().item() == pytest.approx((2 * gain / sum(fans)) ** 0.5, rel=0.02)
    assert not layer.bias.any()


def test_dirac_passes_channels_on_and_keeps_the_other_filters() -> None:
    own = built("cifar10_cnn").network.get_submodule("features.7").weight
    changed = built("cifar10_cnn", init="dirac").network.get_submodule("features.7").weight
    identity: Tensor = torch.zeros(32, 32, 3, 3)
    identity[range(32), range(32), 1, 1] = 1
    assert torch.equal(changed[:32], identity)
    assert torch.equal(changed[32:], own[32:])
