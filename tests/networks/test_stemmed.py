"""torchvision's networks: its names everywhere, and another stem for small images."""

from collections.abc import Callable

import pytest
import torch
import torchvision.models
from torch import nn

from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.networks.stemmed import STEMMED_NETWORKS
from pictorch.recipe import ModelSection

SAME_NAMES = sorted(STEMMED_NETWORKS.keys() - {"vgg11_bn"})


def theirs(name: str) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10)
    return network


def described(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's numbers without any numbers, which costs nothing."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


def ours(name: str) -> dict[str, tuple[int, ...]]:
    return described(lambda: STEMMED_NETWORKS[name](10, True))


@pytest.mark.parametrize("name", SAME_NAMES)
def test_the_small_stem_keeps_torchvisions_names_in_its_order(name: str) -> None:
    assert list(ours(name)) == list(described(lambda: theirs(name)))


def test_vggs_features_keep_torchvisions_names() -> None:
    expected = described(lambda: theirs("vgg11_bn"))
    features = {name: shape for name, shape in expected.items() if name.startswith("features.")}
    assert ours("vgg11_bn") == {**features, "classifier.weight": (10, 512), "classifier.bias": (10,)}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("resnet18", {"conv1.weight"}),
        ("resnet34", {"conv1.weight"}),
        ("mobilenet_v2", set()),
        ("efficientnet_b0", set()),
    ],
)
def test_the_small_stem_changes_no_other_shape(name: str, changed: set[str]) -> None:
    expected = described(lambda: theirs(name))
    assert {key for key, shape in ours(name).items() if shape != expected[key]} == changed


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "resnet18", "resnet34"])
def test_small_images_keep_their_resolution_until_4x4_is_left(name: str) -> None:
    """The last feature map of the network, seen by what is pooled."""
    network = STEMMED_NETWORKS[name](10, True)
    pooled: list[torch.Size] = []
    if name.startswith("mobilenet"):
        network.get_submodule("features").register_forward_hook(lambda *seen: pooled.append(seen[2].shape))
    else:
        network.get_submodule("avgpool").register_forward_pre_hook(
            lambda _, inputs: pooled.append(inputs[0].shape)
        )
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert pooled[0][2:] == (4, 4)


def test_the_stem_is_drawn_like_the_other_convolutions() -> None:
    """Kaiming's normal over the fan out: a deviation of sqrt(2 / (64 * 9))."""
    torch.manual_seed(0)
    stem = STEMMED_NETWORKS["resnet18"](10, True).get_submodule("conv1")
    assert stem.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
def test_the_standard_stem_is_torchvisions_own_network(name: str) -> None:
    network, expected = STEMMED_NETWORKS[name](10, False), theirs(name)
    network.load_state_dict(expected.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(images), expected.eval()(images), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("stem", "image_size", "side"),
    [("auto", 63, 3), ("auto", 64, 7), ("small", 64, 3), ("standard", 32, 7)],
)
def test_the_stem_follows_the_image_size_or_the_recipe(stem: str, image_size: int, side: int) -> None:
    section = ModelSection.model_validate({"name": "resnet18", "stem": stem})
    with torch.device("meta"):
        classifier = build_network(section, 10, InputSpec(stored_size=image_size, image_size=image_size))
    assert classifier.network.get_submodule("conv1").weight.shape[-1] == side
