"""The loss against its formula."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.recipe import LossSection
from pictorch.training.losses import (
    ELEMENTWISE_LOSSES,
    build_loss,
    class_weights,
    sum_of_absolute_weights,
)

NAMES = ["cross_entropy", *ELEMENTWISE_LOSSES]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_with_smoothed_labels(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (7,), generator=generator)
    log_probabilities = logits - logits.exp().sum(1, keepdim=True).log()
    right = -log_probabilities[torch.arange(7), labels].mean()
    spread = -log_probabilities.mean()
    found = build_loss(LossSection(label_smoothing=smoothing))(logits, labels)
    torch.testing.assert_close(found, (1 - smoothing) * right + smoothing * spread, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ELEMENTWISE_LOSSES)
def test_losses_of_single_scores_against_one_hot_targets(name: Any, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (7,), generator=generator)
    targets = torch.full((7, 4), smoothing / 4, dtype=torch.float64)
    targets[torch.arange(7), labels] += 1 - smoothing
    gap = (logits - targets).abs()
    sigmoid = 1 / (1 + (-logits).exp())
    by_hand = {
        "bce": -(targets * sigmoid.log() + (1 - targets) * (1 - sigmoid).log()),
        "mse": gap**2,
        "smooth_l1": torch.where(gap < 1, gap**2 / 2, gap - 0.5),
    }
    found = build_loss(LossSection(name=name, label_smoothing=smoothing))(logits, labels)
    torch.testing.assert_close(found, by_hand[name].mean(), atol=1e-12, rtol=1e-12)


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Returns logits (7, 4), labels (7,) and probabilities float32 (7, 4) as mixed images have them."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 0, 2])
    share = torch.rand(7, 1, generator=generator)
    one_hot = torch.eye(4)
    return logits, labels, share * one_hot[labels] + (1 - share) * one_hot[labels.roll(1)]


def test_label_smoothing_is_that_of_the_full_tutorial() -> None:
    logits, labels, _ = drawn()
    log_probabilities = logits.log_softmax(1)
    nll = -log_probabilities.gather(1, labels[:, None]).mean()
    expected = 0.9 * nll + 0.1 * -log_probabilities.mean()
    torch.testing.assert_close(build_loss(LossSection(label_smoothing=0.1))(logits, labels), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_targets_too(name: Any, smoothing: float) -> None:
    """One-hot ones give what labels give, mixed ones what their formula gives: it is linear in them."""
    logits, labels, mixed = drawn()
    loss = build_loss(LossSection(name=name, label_smoothing=smoothing))
    torch.testing.assert_close(loss(logits, torch.eye(4)[labels]), loss(logits, labels))
    if name in ("cross_entropy", "bce"):
        of_classes = [loss(logits[i : i + 1], torch.tensor([c])) for i in range(7) for c in range(4)]
        expected = (torch.stack(of_classes).reshape(7, 4) * mixed).sum(1).mean()
        torch.testing.assert_close(loss(logits, mixed), expected)
    else:
        smoothed = mixed.double() * (1 - smoothing) + smoothing / 4
        by_torch = {"mse": nn.MSELoss(), "smooth_l1": nn.SmoothL1Loss()}[name]
        torch.testing.assert_close(loss(logits, mixed), by_torch(logits, smoothed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_class_weights_multiply_the_loss_of_each_image(name: Any, smoothing: float) -> None:
    logits, labels, mixed = drawn()
    section = LossSection(name=name, label_smoothing=smoothing)
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    plain, weighted = build_loss(section), build_loss(section, weights=weights)
    each = [plain(logits[i : i + 1], labels[i : i + 1]) * weights[labels[i]] for i in range(7)]
    torch.testing.assert_close(weighted(logits, labels), torch.stack(each).mean())
    of_mixed = (mixed.double() * weights).sum(1)
    each = [plain(logits[i : i + 1], mixed[i : i + 1]) * of_mixed[i] for i in range(7)]
    torch.testing.assert_close(weighted(logits, mixed), torch.stack(each).mean())
    ones = build_loss(section, weights=torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(ones(logits, labels), plain(logits, labels))


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    weights = class_weights(LossSection(class_weights="balanced"), labels, ("a", "b", "c"))
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([7 / 12, 7 / 3, 7 / 6], dtype=torch.float64))
    assert weights[labels].mean().item() == pytest.approx(1)


def test_weights_by_class_name() -> None:
    names, labels = ("cat", "dog", "fox"), np.array([0, 1, 2])
    weights = class_weights(LossSection(class_weights={"fox": 3.0, "cat": 0.5}), labels, names)
    assert weights is not None
    assert weights.tolist() == [0.5, 1.0, 3.0]
    assert class_weights(LossSection(), labels, names) is None
    with pytest.raises(
        RecipeError, match=r"unknown class 'dogs' \(did you mean dog\?\); known: cat, dog, fox"
    ):
        class_weights(LossSection(class_weights={"dogs": 2.0}), labels, names)


def test_absolute_weights_are_those_of_matrices_and_filters() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    expected = sum(
        p.abs().sum() for name, p in network.named_parameters() if name in ("0.weight", "3.weight")
    )
    found = sum_of_absolute_weights(network)
    torch.testing.assert_close(found, expected)
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(network[3].weight.grad, network[3].weight.sign())  # type: ignore[arg-type]
    assert network[3].bias.grad is None


def test_large_logits_stay_finite() -> None:
    loss = build_loss(LossSection(label_smoothing=0.1))
    assert loss(torch.tensor([[1e4, -1e4]]), torch.tensor([0])).isfinite()
    assert build_loss(LossSection())(torch.tensor([[1e4, -1e4]]), torch.tensor([0])).item() == 0
