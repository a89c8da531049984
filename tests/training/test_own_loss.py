"""Losses of the user's own are tried with what training will give them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.recipe import Recipe, TrainSection
from pictorch.recipe.files import load_recipe
from pictorch.training.losses import build_loss
from pictorch.training.own_loss import OwnLoss, try_own_loss
from pictorch.training.runtime import resolve_runtime


def recipe(**augment: Any) -> Recipe:
    changes = {f"augment.{key}": value for key, value in augment.items()}
    return load_recipe("digits", {"loss.name": "object:f", "loss.label_smoothing": 0.0, **changes})


def tried(loss: OwnLoss, precision: Any = "float32", **augment: Any) -> None:
    try_own_loss(recipe(**augment), loss, 3, resolve_runtime(TrainSection(epochs=1, precision=precision)))


def test_it_is_used_as_it_is() -> None:
    assert build_loss(recipe().loss, F.cross_entropy) is F.cross_entropy


def test_it_gets_labels_or_where_images_are_mixed_shares() -> None:
    seen = []

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append((logits.dtype, targets.dtype, tuple(targets.shape)))
        return F.cross_entropy(logits, targets)

    tried(loss)
    tried(loss, mixup=0.2)
    tried(loss, "float64", cutmix=1.0)
    assert seen == [
        (torch.float32, torch.int64, (4,)),
        (torch.float32, torch.float32, (4, 3)),
        (torch.float64, torch.float64, (4, 3)),
    ]


def test_trying_draws_nothing() -> None:
    state = torch.get_rng_state()
    tried(F.cross_entropy)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_that_knows_labels_only_is_refused_for_mixed_images() -> None:
    with pytest.raises(RecipeError, match=r"object:f fails for logits \(4, 3\) and targets \(4, 3\)"):
        tried(F.nll_loss, mixup=0.2)


def test_one_that_ends_python_is_refused() -> None:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        raise SystemExit

    with pytest.raises(RecipeError, match=r"fails for .*SystemExit"):
        tried(loss)


def test_parameters_of_a_loss_are_refused_where_they_want_to_learn() -> None:
    class Scaled(nn.CrossEntropyLoss):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return super().forward(self.scale * logits, targets)

    with pytest.raises(RecipeError, match="nothing would move them"):
        tried(Scaled())
    tried(Scaled().requires_grad_(False))
    tried(nn.CrossEntropyLoss())
