"""ResNet-18: torchvision's names everywhere, another stem for small images."""

import pytest
import torch
import torchvision.models
from torch import nn

from pictorch.networks.resnet import SMALL_IMAGE_SIDE, resnet18


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=10)
    return network


def test_small_images_keep_torchvisions_names_and_all_shapes_but_the_stem(theirs: nn.Module) -> None:
    ours = {name: tuple(tensor.shape) for name, tensor in resnet18(10, 32).state_dict().items()}
    expected = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert list(ours) == list(expected)
    assert {name for name in ours if ours[name] != expected[name]} == {"conv1.weight"}
    assert ours["conv1.weight"] == (64, 3, 3, 3)


def test_the_stem_keeps_the_size_of_small_images() -> None:
    network = resnet18(10, SMALL_IMAGE_SIDE - 1)
    assert isinstance(network.conv1, nn.Conv2d)
    assert (network.conv1.stride, network.conv1.padding, network.conv1.bias) == ((1, 1), (1, 1), None)
    assert isinstance(network.maxpool, nn.Identity)
    assert network.conv1(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)


def test_the_stem_is_drawn_like_the_other_convolutions() -> None:
    """Kaiming's normal over the fan out: a deviation of sqrt(2 / (64 * 9))."""
    torch.manual_seed(0)
    deviation = resnet18(10, 32).conv1.weight.std().item()
    assert deviation == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


def test_large_images_have_torchvisions_own_network(theirs: nn.Module) -> None:
    network = resnet18(10, SMALL_IMAGE_SIDE)
    network.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(images), theirs.eval()(images), atol=0, rtol=0)
