"""The tutorials' networks keep the tutorials' names and arithmetic."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pictorch.networks.tutorials import Cifar10Cnn, LeNet, SimpleNet, SmallBnCnn


def test_simple_net_keeps_the_tutorials_names_and_shapes() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SimpleNet(10, 32).state_dict().items()}
    assert shapes == {
        "conv1.weight": (16, 3, 3, 3),
        "conv1.bias": (16,),
        "conv2.weight": (32, 16, 3, 3),
        "conv2.bias": (32,),
        "fc1.weight": (10, 2048),
        "fc1.bias": (10,),
    }


def test_cifar10_cnn_keeps_the_tutorials_names_and_shapes() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in Cifar10Cnn(10, 32).named_parameters()}
    convolutions = {
        "features.0": (32, 3),
        "features.3": (32, 32),
        "features.7": (64, 32),
        "features.10": (64, 64),
    }
    expected: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in convolutions.items():
        norm = f"features.{int(name.rpartition('.')[2]) + 1}"
        expected |= {f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,)}
        expected |= {f"{norm}.weight": (outputs,), f"{norm}.bias": (outputs,)}
    expected |= {"classifier.1.weight": (512, 4096), "classifier.1.bias": (512,)}
    expected |= {"classifier.4.weight": (10, 512), "classifier.4.bias": (10,)}
    assert shapes == expected


def test_simple_net_is_two_convolutions_with_relu_and_pooling_and_a_linear_layer() -> None:
    network = SimpleNet(10, 8)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = F.max_pool2d(F.conv2d(images, network.conv1.weight, network.conv1.bias, padding=1).clamp(min=0), 2)
    x = F.max_pool2d(F.conv2d(x, network.conv2.weight, network.conv2.bias, padding=1).clamp(min=0), 2)
    expected = x.reshape(2, -1) @ network.fc1.weight.T + network.fc1.bias
    torch.testing.assert_close(network(images), expected)


def test_lenet_keeps_the_tutorials_names_and_shapes() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in LeNet(10, 32).named_parameters()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        "conv1.weight": (6, 3, 5, 5),
        "conv2.weight": (16, 6, 5, 5),
        "fc1.weight": (120, 400),
        "fc2.weight": (84, 120),
        "fc3.weight": (10, 84),
    }


def test_small_bn_cnn_keeps_the_tutorials_names_and_shapes() -> None:
    state = {name: tuple(tensor.shape) for name, tensor in SmallBnCnn(10, 32).state_dict().items()}
    assert {name: shape for name, shape in state.items() if name.endswith("weight")} == {
        "conv1.weight": (6, 3, 3, 3),
        "bn1.weight": (6,),
        "conv2.weight": (16, 6, 3, 3),
        "bn2.weight": (16,),
        "linear1.weight": (120, 576),
        "linear2.weight": (84, 120),
        "out.weight": (10, 84),
    }


def test_dropout_acts_in_training_only() -> None:
    network = Cifar10Cnn(10, 8)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def logits(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.inference_mode():
            return network(images)

    network.train()
    assert not torch.equal(logits(1), logits(2))
    network.eval()
    assert torch.equal(logits(1), logits(2))
