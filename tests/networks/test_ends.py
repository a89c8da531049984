"""The stem sees the three channels of the images, the head gives a number for each class."""

import pytest
import torch
import torchvision.models
from torch import nn

from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, build_network
from pictorch.networks.ends import stem_and_head
from pictorch.recipe import ModelSection

HEADS = {
    "torchvision:resnet18": "fc",
    "torchvision:mobilenet_v2": "classifier.1",
    "torchvision:vit_b_16": "heads.head",
    "torchvision:convnext_tiny": "classifier.2",
    "torchvision:squeezenet1_1": "classifier.1",
    "timm:vit_tiny_patch16_224": "head",
    "timm:resnet18": "fc",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_ends_of_our_networks(name: str) -> None:
    with torch.device("meta"):
        classifier = build_network(ModelSection(name=name), 7, InputSpec(stored_size=32, image_size=32))
    network = classifier.network
    stem, head = (network.get_submodule(end) for end in stem_and_head(network))
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == 3
    assert isinstance(head, nn.Linear)
    assert head.out_features == 7


@pytest.mark.parametrize("name", HEADS)
def test_ends_of_others_networks(name: str) -> None:
    zoo, _, name_there = name.partition(":")
    with torch.device("meta"):
        if zoo == "timm":
            network = pytest.importorskip("timm").create_model(name_there, num_classes=7)
        else:
            network = torchvision.models.get_model(name_there, weights=None, num_classes=7)
    stem, head = stem_and_head(network)
    assert network.get_submodule(stem).weight.shape[1] == 3
    assert head == HEADS[name]
    assert network.get_submodule(head).weight.shape[0] == 7


def test_a_network_without_such_layers_has_no_ends() -> None:
    assert stem_and_head(nn.Sequential(nn.Flatten(), nn.ReLU())) == ("", "")
    assert stem_and_head(nn.Sequential(nn.Flatten(), nn.Linear(3, 2))) == ("", "1")
