"""What stands around a network: normalisation, enlargement, the order in memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.images import InputSpec
from pictorch.networks import Classifier
from pictorch.networks.classifier import Normalization

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 6, 6, 3), dtype=torch.uint8, generator=generator)


def filled(image_size: int) -> Normalization:
    normalization = Normalization(image_size)
    normalization.fill(MEAN, STD)
    return normalization


def reference(images: Tensor) -> Tensor:
    return ((images.double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def test_normalisation(images: Tensor) -> None:
    found = filled(6)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), reference(images), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(filled(6)(images.float()), found, atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(0, 6, 6, 3), (1, 6, 6, 3), (5, 6, 6, 3), (1, 6, 256, 3)])
def test_rows_are_normalised_to_the_bits_that_the_exported_graph_gives(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if shape[2] == 256:
        images[:] = torch.arange(256, dtype=torch.uint8)[:, None]  # every level of every channel
    by_rows = [filled(6)(each) for each in (images, images.flip(2), images[::2])]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for found, each in zip(by_rows, (images, images.flip(2), images[::2]), strict=True):
        in_graph = filled(6)(each)
        assert torch.equal(found, in_graph)
        assert found.stride() == in_graph.stride()


def test_normalisation_in_double_precision(images: Tensor) -> None:
    found = filled(6).double()(images)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, reference(images), atol=1e-12, rtol=1e-12)


def test_the_statistics_travel_with_the_weights() -> None:
    state = filled(6).state_dict()
    assert state.keys() == {"mean", "std"}
    torch.testing.assert_close(state["mean"], torch.tensor(MEAN))
    torch.testing.assert_close(state["std"], torch.tensor(STD))
    assert list(filled(6).parameters()) == []


def test_enlargement_is_bilinear(images: Tensor) -> None:
    found = filled(15)(images)
    assert found.shape == (4, 3, 15, 15)
    expected = F.interpolate(reference(images), (15, 15), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("image_size", [6, 15])
def test_the_order_in_memory_stays_channels_last(images: Tensor, image_size: int) -> None:
    assert filled(image_size)(images).is_contiguous(memory_format=torch.channels_last)


def test_a_classifier_is_normalisation_then_network(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 5))
    classifier = Classifier(network, InputSpec(stored_size=6, image_size=6), 5)
    classifier.normalization.fill(MEAN, STD)
    torch.testing.assert_close(classifier(images), network(filled(6)(images)), atol=0, rtol=0)
    names = {"normalization.mean", "normalization.std", "network.1.weight", "network.1.bias"}
    assert classifier.state_dict().keys() == names
