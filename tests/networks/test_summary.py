"""The layer table: shapes, parameters and multiply-adds against sums made by hand."""

import pytest
import torch
from torch import nn

from pictorch.errors import RecipeError
from pictorch.exporting.network_list import models
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, Classifier, build_network
from pictorch.networks.summary import summarize
from pictorch.recipe import ModelSection


def test_simple_net_by_hand() -> None:
    (summary,) = models("simple_net")
    conv1, conv2, fc1 = 32 * 32 * 16 * 27, 16 * 16 * 32 * 144, 2048 * 10
    summary["layers"] = [layer for layer in summary["layers"] if layer["kind"] != "ReLU"]
    assert summary == {
        "name": "simple_net",
        "parameters": 25_578,
        "multiply_adds": conv1 + conv2 + fc1,
        "layers": [
            {
                "name": "normalization",
                "kind": "Normalization",
                "output_shape": [3, 32, 32],
                "parameters": 0,
                "multiply_adds": 0,
            },
            {
                "name": "network.conv1",
                "kind": "Conv2d",
                "output_shape": [16, 32, 32],
                "parameters": 448,
                "multiply_adds": conv1,
            },
            {
                "name": "network.conv2",
                "kind": "Conv2d",
                "output_shape": [32, 16, 16],
                "parameters": 4640,
                "multiply_adds": conv2,
            },
            {
                "name": "network.fc1",
                "kind": "Linear",
                "output_shape": [10],
                "parameters": 20_490,
                "multiply_adds": fc1,
            },
        ],
    }
    assert summary["multiply_adds"] == 1_642_496


def test_classes_and_sizes_are_followed() -> None:
    (summary,) = models("simple_net", num_classes=3, image_size=8)
    assert [layer["output_shape"] for layer in summary["layers"]] == [
        [3, 8, 8], [16, 8, 8], [16, 8, 8], [32, 4, 4], [32, 4, 4], [3],
    ]  # fmt: skip
    assert summary["multiply_adds"] == 8 * 8 * 16 * 27 + 4 * 4 * 32 * 144 + 128 * 3


def test_groups_strides_and_enlargement() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, (3, 1), stride=2, groups=3), nn.Flatten(), nn.LazyLinear(4))
    network(torch.zeros(1, 3, 9, 9))
    summary = summarize(Classifier(network, InputSpec(stored_size=5, image_size=9), 4), "own")
    shapes = {layer["name"]: layer["output_shape"] for layer in summary["layers"]}
    assert shapes == {
        "normalization": [3, 9, 9],
        "network.0": [6, 4, 5],
        "network.1": [120],
        "network.2": [4],
    }
    assert summary["multiply_adds"] == 4 * 5 * 6 * 3 * 1 + 120 * 4
    assert summary["parameters"] == 6 * 3 + 6 + 120 * 4 + 4


def test_summarizing_leaves_no_trace() -> None:
    classifier = build_network(ModelSection(name="cifar10_cnn"), 10, InputSpec(stored_size=8, image_size=8))
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    for training in (True, False):
        classifier.train(training)
        summary = summarize(classifier, "cifar10_cnn")
        assert all(module.training == training for module in classifier.modules())
    assert all(not module._forward_hooks for module in classifier.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    assert sum(layer["parameters"] for layer in summary["layers"]) == summary["parameters"]


@pytest.mark.slow
def test_all_models_are_listed_by_name() -> None:
    summaries = models(image_size=16)
    assert [summary["name"] for summary in summaries] == list(NETWORKS)
    assert [summary["name"] for summary in summaries if summary["parameters"] is None] == ["vgg11_bn"]


def test_an_unknown_model() -> None:
    with pytest.raises(RecipeError, match=r"unknown network 'resnet' \(did you mean resnet34\?\); known: "):
        models("resnet")
