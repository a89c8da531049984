"""The loss against its formula."""

from typing import Any

import pytest
import torch

from pictorch.recipe import LossSection
from pictorch.training.losses import ELEMENTWISE_LOSSES, build_loss


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


def test_large_logits_stay_finite() -> None:
    loss = build_loss(LossSection(label_smoothing=0.1))
    assert loss(torch.tensor([[1e4, -1e4]]), torch.tensor([0])).isfinite()
    assert build_loss(LossSection())(torch.tensor([[1e4, -1e4]]), torch.tensor([0])).item() == 0
