"""Layers in whose place `conv3x3` is put: what changes, and what must not."""

import copy

import pytest
import torch
from torch import nn

from pictorch.kernels import layers
from pictorch.kernels.layers import Conv3x3, OwnConvolutions, Shape, shapes_of, suitable_layers, use_conv3x3


class OwnLayer(nn.Conv2d):
    """A layer of somebody else's, which may do something of its own."""


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(6, 6, 3, stride=2, padding=1),
        OwnLayer(6, 6, 3, padding=1),
    )


def test_only_what_is_exactly_torchs_and_suits_is_taken(network: nn.Sequential) -> None:
    assert list(suitable_layers(network)) == ["0", "2"]
    use_conv3x3(network, ["0", "4"])
    assert [type(layer) for layer in network] == [Conv3x3, nn.ReLU, nn.Conv2d, nn.Conv2d, OwnLayer]
    assert list(suitable_layers(network)) == ["0", "2"]
    use_conv3x3(network, [])
    assert not any(isinstance(layer, Conv3x3) for layer in network)


def test_state_copies_and_evaluation_are_the_same(network: nn.Sequential) -> None:
    x, state = (
        torch.randn(2, 3, 8, 8),
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
    )
    before = network.eval()(x)
    use_conv3x3(network.train(), ["0", "2"])
    copied = copy.deepcopy(network)
    assert isinstance(copied[2], Conv3x3)
    for one in (network, copied):
        assert one.state_dict().keys() == state.keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
        assert torch.equal(one.eval()(x), before)
    network.load_state_dict(state)


def test_it_is_the_operator_that_trains(network: nn.Sequential, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    real = layers.conv3x3
    monkeypatch.setattr(layers, "conv3x3", lambda x, *others: called.append(x.shape) or real(x, *others))
    use_conv3x3(network, ["2"])
    x = torch.randn(2, 3, 8, 8)
    expected = network.eval()(x)
    assert called == []
    torch.testing.assert_close(network.train()(x), expected)
    assert called == [(2, 4, 8, 8)]
    network[2](torch.randn(4, 8, 8))  # one image without a batch, which torch takes too
    assert len(called) == 1


def test_the_sizes_of_a_step(network: nn.Sequential) -> None:
    images = torch.randn(2, 3, 8, 6)
    assert shapes_of(network, images, batch_size=64) == {
        "0": [Shape(64, 8, 6, 3, 4, True, True)],
        "2": [Shape(64, 8, 6, 4, 6, False, False)],
    }
    assert Shape(64, 8, 6, 3, 4, True, True).text() == "64 x 8x6, 3 -> 4 + bias, first"
    assert not network[0]._forward_pre_hooks


def test_the_record(network: nn.Sequential) -> None:
    one = OwnConvolutions(("0", "2"), "avx2", "abc")
    assert OwnConvolutions.recorded(one.to_json()) == one
    assert one.told() == "own for 2 layers (avx2, build abc)"
    assert OwnConvolutions.recorded(None).to_json() is None
    assert OwnConvolutions().told() == "torch's"
