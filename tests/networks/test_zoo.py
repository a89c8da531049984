"""Every network against its golden parameter count and golden logits.

The logits are those of the network in evaluation mode, with weights drawn after
torch.manual_seed(0), for two made images of 32x32 pixels; they hold within 1e-4, which is far more
than processors and threads differ by and far less than any change of the architecture makes.
After a wanted change: `python tests/networks/test_zoo.py`, which rewrites tests/golden/networks.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pictorch.errors import MissingPartError, RecipeError
from pictorch.exporting.network_list import models
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
    assert json.loads(GOLDEN.read_text()).keys() == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet", 62_006),
        ("simple_net", 25_578),
        ("small_bn_cnn", 81_346),
        ("cifar10_cnn", 2_168_746),
        ("resnet18", 11_173_962),
        ("resnet34", 21_282_122),
        ("mobilenet_v2", 2_236_682),
        ("efficientnet_b0", 4_020_358),
        ("vgg11_bn", 9_231_114),
    ],
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
    assert message.startswith(f"model.name: {name} cannot take images of {side} pixels; ")
    assert message.endswith("try another size, as `--set data.image_size=32`")
    assert len(message.splitlines()) == 1
    with pytest.raises(RecipeError, match=r"try another size, as `--image-size 32`$"):
        models(name, image_size=side)


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


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Net", "lenet"),
        ("ImageClassification", "small_bn_cnn"),
        ("SimpleNet", "simple_net"),
        ("alex", "alexnet"),
    ],
)
def test_the_tutorials_own_names_lead_to_ours(theirs: str, ours: str) -> None:
    with pytest.raises(RecipeError, match=f"^model.name: the tutorials' {theirs} is {ours} here; give `"):
        build_network(ModelSection(name=theirs), 10, CIFAR)


@pytest.mark.parametrize("name", ["torchvision:shufflenet_v2_x0_5", "torchvision:googlenet"])
def test_any_classification_network_of_torchvision_can_be_named(name: str) -> None:
    spec = InputSpec(stored_size=32, image_size=64)
    classifier = build_network(ModelSection(name=name), 7, spec)
    assert classifier(torch.zeros((2, 32, 32, 3), dtype=torch.uint8)).shape == (2, 7)


@pytest.mark.slow
def test_a_vision_transformer_follows_the_image_size() -> None:
    spec = InputSpec(stored_size=32, image_size=64)
    classifier = build_network(ModelSection(name="torchvision:vit_b_32"), 3, spec)
    assert classifier.eval()(torch.zeros((1, 32, 32, 3), dtype=torch.uint8)).shape == (1, 3)


def test_timm_without_timm_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPartError, match=r"pip install 'pictorch\[timm\]'"):
        build_network(ModelSection(name="timm:resnet18"), 10, CIFAR)


@pytest.mark.slow
def test_networks_of_timm_follow_classes_and_size() -> None:
    pytest.importorskip("timm", reason="the timm extra is not installed")
    for name in ("timm:vit_tiny_patch16_224", "timm:resnet10t"):
        classifier = build_network(ModelSection(name=name), 3, InputSpec(stored_size=32, image_size=64))
        assert classifier.eval()(torch.zeros((1, 32, 32, 3), dtype=torch.uint8)).shape == (1, 3)


@pytest.mark.parametrize("name", ["torchvision:resnet", "timm:vit_tiny"])
def test_unknown_names_of_a_zoo_are_refused_with_the_nearest(name: str) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="the timm extra is not installed")
    zoo, _, network = name.partition(":")
    with pytest.raises(RecipeError) as caught:
        build_network(ModelSection(name=name), 10, CIFAR)
    message = str(caught.value)
    assert message.startswith(f"model.name: unknown {zoo} network '{network}' (did you mean ")
    assert len(message) < 250


def test_a_network_with_another_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda classes, size: nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 9))  # noqa: E731
    monkeypatch.setitem(zoo_module._SIZED_NETWORKS, "simple_net", wrong)
    with pytest.raises(RecipeError, match=r"gives an output of shape \(2, 9\) for 2 images, not \(2, 10\)"):
        build_network(ModelSection(name="simple_net"), 10, CIFAR)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: observed(name) for name in NETWORKS}, indent=1) + "\n")
