"""The whitening layer: what it makes of the patches that it was filled from, and where it stands."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.networks.whitening import PatchWhitening
from pictorch.recipe import ModelSection

CIFAR = InputSpec(stored_size=32, image_size=32)


def smooth_images(count: int = 60) -> Tensor:
    """Images whose neighbouring pixels and channels are alike, as in pictures."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((count, 3, 6, 6), generator=generator) + torch.randn(
        (count, 1, 6, 6), generator=generator
    )
    return F.interpolate(coarse, (16, 16), mode="bilinear")


def test_outputs_are_independent_and_of_variance_1() -> None:
    images = smooth_images()
    layer = PatchWhitening(3, keeps_size=False)
    layer.fill(images)
    outputs = layer(images).detach().transpose(0, 1).flatten(1)[:12]
    products = (outputs @ outputs.T / outputs.shape[1]).numpy()
    strong = np.diag(products) > 0.9  # those whose variance is far above what is added to it
    assert strong.sum() >= 6
    np.testing.assert_allclose(products[np.ix_(strong, strong)], np.eye(strong.sum()), atol=0.1)
    assert (np.diag(products) < 1.01).all()


def test_the_second_half_is_the_negative_of_the_first() -> None:
    layer = PatchWhitening(3, keeps_size=False)
    layer.fill(smooth_images())
    assert torch.equal(layer.weight[:12], -layer.weight[12:])


def test_filters_do_not_depend_on_how_images_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = PatchWhitening(3, keeps_size=False), PatchWhitening(3, keeps_size=False)
    whole.fill(smooth_images())
    monkeypatch.setattr("pictorch.networks.whitening._PIXELS_AT_ONCE", 1000)
    cut.fill(smooth_images())
    torch.testing.assert_close(whole.weight, cut.weight, atol=1e-5, rtol=1e-4)


def test_only_its_bias_learns() -> None:
    network = build_network(ModelSection(name="simple_net", whitening=True), 10, CIFAR)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["network.conv1.whitening.weight"]


@pytest.mark.parametrize("name", ["simple_net", "cifar10_cnn", "resnet18", "torchvision:vit_b_16"])
def test_other_networks_take_it_and_keep_their_size(name: str) -> None:
    with torch.device("meta"):
        network = build_network(ModelSection(name=name, whitening=True), 10, CIFAR)
    layers = [layer for layer in network.modules() if isinstance(layer, PatchWhitening)]
    assert len(layers) == 1
    assert layers[0](torch.zeros((1, 3, 32, 32), device="meta")).shape == (1, 24, 32, 32)


def test_speednet_goes_without_it() -> None:
    network = build_network(ModelSection(name="speednet", whitening=False), 10, CIFAR)
    stem = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    assert (type(stem), stem.in_channels) == (nn.Conv2d, 3)


def test_a_network_without_convolutions_is_refused() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(RecipeError, match=r"^model\.whitening: mine:linear does not begin"):
        build_network(ModelSection(name="mine:linear", whitening=True), 10, CIFAR, own=linear)
