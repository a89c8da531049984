"""The graph of a network: its layers, the functions between them, and what flows into what."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pictorch.images import InputSpec
from pictorch.networks import Classifier, build_network
from pictorch.networks.graph import GraphNode, trace_graph
from pictorch.networks.summary import summarize
from pictorch.recipe import ModelSection


def built(name: str, side: int = 8) -> Classifier:
    return build_network(ModelSection(name=name), 10, InputSpec(stored_size=side, image_size=side))


def own(forward: Callable[[nn.Module, Tensor], Tensor]) -> Classifier:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(3, 1, 1))
            self.fc = nn.Linear(3 * 8 * 8, 4)

        def forward(self, images_nchw: Tensor) -> Tensor:
            return forward(self, images_nchw)

    return Classifier(Own(), InputSpec(stored_size=8, image_size=8), 4)


def named(nodes: list[GraphNode]) -> list[tuple[str, tuple[str, ...]]]:
    return [(node.name, tuple(nodes[place].name for place in node.inputs)) for node in nodes]


def test_simple_net_is_a_chain() -> None:
    nodes = trace_graph(built("simple_net"))
    assert [node.name for node in nodes] == [
        "images", "normalization", "network.conv1", "network.relu1", "network.max_pool2d", "network.conv2",
        "network.relu2", "network.max_pool2d", "network.flatten", "network.fc1",
    ]  # fmt: skip
    assert [node.inputs for node in nodes] == [(), *((place,) for place in range(9))]
    assert nodes[0] == GraphNode("images", "uint8", (), (8, 8, 3), 0)
    assert nodes[2] == GraphNode("network.conv1", "Conv2d", (1,), (16, 8, 8), 448)
    assert nodes[-1] == GraphNode("network.fc1", "Linear", (8,), (10,), 32 * 4 * 10 + 10)


def test_branches_and_weights() -> None:
    """Weights that a function takes are no input; += is an addition, and what it changes goes on."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        y = self.conv(x) * self.scale
        y += x
        first, second = y.chunk(2, dim=2)
        return self.fc(torch.cat((second, first), dim=2).flatten(1))  # type: ignore[no-any-return]

    assert named(trace_graph(own(forward)))[2:] == [
        ("network.conv", ("normalization",)),
        ("network.mul", ("network.conv",)),
        ("network.add", ("normalization", "network.mul")),
        ("network.chunk", ("network.add",)),
        ("network.cat", ("network.chunk",)),
        ("network.flatten", ("network.cat",)),
        ("network.fc", ("network.flatten",)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "efficientnet_b0", "torchvision:densenet121", "torchvision:vit_b_16", "torchvision:swin_t"],
)
def test_every_layer_of_the_summary_is_in_it_and_all_leads_to_the_logits(name: str) -> None:
    classifier = built(name, 224 if "vit" in name else 32)
    nodes = trace_graph(classifier)
    in_order = iter(node.name for node in nodes)
    assert all(layer["name"] in in_order for layer in summarize(classifier, name)["layers"])
    used = {place for node in nodes for place in node.inputs}
    assert used == set(range(len(nodes) - 1))
    assert all(place > max(node.inputs) for place, node in enumerate(nodes) if place)


def test_tracing_leaves_no_trace() -> None:
    classifier = built("cifar10_cnn")
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    for training in (True, False):
        trace_graph(classifier.train(training))
        assert all(module.training == training for module in classifier.modules())
    assert all(not module._forward_hooks for module in classifier.modules())
    assert all(not module._forward_pre_hooks for module in classifier.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
