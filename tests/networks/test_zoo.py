"""Every network against its golden parameter count and golden logits.

The logits are those of the network in evaluation mode, with weights drawn after
torch.manual_seed(0), for two made images of 32x32 pixels; they hold within 1e-4, which is far more
than processors and threads differ by and far less than any change of the architecture makes.
After a wanted change: `python tests/networks/test_zoo.py`, which rewrites tests/golden/networks.json.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, Classifier, build_network
from pictorch.networks import zoo as zoo_module
from pictorch.randomness import Purpose, words
from pictorch.recipe import ModelSection

GOLDEN = Path(__file__).parents[1] / "golden" / "networks.json"
TOLERANCE = 1e-4
CIFAR = InputSpec(stored_size=32, image_size=32)


def made_images() -> Tensor:
    drawn = words(0, Purpose.SAMPLES, np.arange(2 * 32 * 32))[:, :3] >> 24
    return torch.from_numpy(drawn.astype(np.uint8).reshape(2, 32, 32, 3))


def observed(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    classifier = build_network(ModelSection(name=name), 10, CIFAR).eval()
    with torch.inference_mode():
        logits = classifier(made_images())
    return {"parameters": parameters(classifier), "logits": logits.tolist()}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_golden(name: str) -> None:
    golden, found = json.loads(GOLDEN.read_text())[name], observed(name)
    assert found["parameters"] == golden["parameters"]
    torch.testing.assert_close(
        torch.tensor(found["logits"]), torch.tensor(golden["logits"]), atol=TOLERANCE, rtol=0
    )


def test_the_golden_file_names_every_network() -> None:
    assert json.loads(GOLDEN.read_text()).keys() == NETWORKS.keys()


@pytest.mark.parametrize(
    ("name", "count"), [("simple_net", 25_578), ("cifar10_cnn", 2_168_746), ("resnet18", 11_173_962)]
)
def test_the_counts_of_the_tutorials(name: str, count: int) -> None:
    assert parameters(build_network(ModelSection(name=name), 10, CIFAR)) == count


@pytest.mark.parametrize("name", ["simple_net", "cifar10_cnn"])
def test_a_built_network_trains_and_has_had_no_training(name: str) -> None:
    classifier = build_network(ModelSection(name=name), 7, InputSpec(stored_size=8, image_size=8))
    assert isinstance(classifier, Classifier)
    assert classifier.num_classes == 7
    assert all(module.training for module in classifier.modules())
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_batches_tracked == 0, "the dummy batch leaves no trace"
    assert classifier(torch.zeros((3, 8, 8, 3), dtype=torch.uint8)).shape == (3, 7)


def test_fresh_weights_come_from_torchs_generator() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next(build_network(ModelSection(name="simple_net"), 10, CIFAR).parameters()).detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", ["simple_net", "cifar10_cnn"])
@pytest.mark.parametrize("side", [1, 3])
def test_images_that_are_too_small_are_refused(name: str, side: int) -> None:
    with pytest.raises(RecipeError) as caught:
        build_network(ModelSection(name=name), 10, InputSpec(stored_size=side, image_size=side))
    message = str(caught.value)
    assert message.startswith(f"model.name: {name} cannot take images of {side} pixels (")
    assert message.endswith("; set data.image_size")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["simple_net", "cifar10_cnn"])
@pytest.mark.parametrize("side", [4, 5, 30])
def test_odd_sizes_are_taken(name: str, side: int) -> None:
    spec = InputSpec(stored_size=side, image_size=side)
    classifier = build_network(ModelSection(name=name), 3, spec)
    assert classifier(torch.zeros((2, side, side, 3), dtype=torch.uint8)).shape == (2, 3)


def test_small_stored_images_are_enlarged_for_the_network() -> None:
    spec = InputSpec(stored_size=2, image_size=8)
    classifier = build_network(ModelSection(name="simple_net"), 3, spec)
    assert classifier(torch.zeros((2, 2, 2, 3), dtype=torch.uint8)).shape == (2, 3)


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        build_network(ModelSection(name="simplenet"), 10, CIFAR)
    assert str(caught.value).startswith(
        "model.name: unknown network 'simplenet' (did you mean simple_net?); known: "
    )


@pytest.mark.parametrize("name", ["simple_net", "resnet18"])
def test_dropout_is_refused_where_there_is_none(name: str) -> None:
    message = r"^model\.dropout = 0\.1: this network has no dropout; leave it out$"
    with pytest.raises(RecipeError, match=message):
        build_network(ModelSection(name=name, dropout=0.1), 10, CIFAR)


def test_a_network_with_another_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda classes, size, dropout: nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 9))  # noqa: E731
    monkeypatch.setitem(zoo_module.NETWORKS, "wrong", wrong)
    with pytest.raises(RecipeError, match=r"gives an output of shape \(2, 9\) for 2 images, not \(2, 10\)"):
        build_network(ModelSection(name="wrong"), 10, CIFAR)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: observed(name) for name in NETWORKS}, indent=1) + "\n")
