"""Growing images: which size comes when, what it costs, and that nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.recipe import AugmentSection, ModelSection
from pictorch.training.console import Console
from pictorch.training.sizes import check_sizes, shrunk, side_at
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import stopped_copy

QUIET = Console("quiet")
TWO = AugmentSection(sizes=((16, 0.25), (24, 0.5)))


@pytest.mark.parametrize(
    ("share", "side"), [(0.0, 16), (0.24, 16), (0.25, 24), (0.74, 24), (0.75, 32), (0.99, 32), (2.0, 32)]
)
def test_sizes_follow_one_another(share: float, side: int) -> None:
    assert side_at(TWO, share, 32) == side


def test_without_sizes_nothing_is_shrunk() -> None:
    assert side_at(AugmentSection(), 0.0, 32) == 32
    images = torch.zeros((2, 8, 8, 3), dtype=torch.uint8)
    assert shrunk(images, 8) is images
    assert shrunk(images, 16) is images


@given(st.integers(0, 255), st.integers(8, 31))
def test_an_even_colour_stays(level: int, side: int) -> None:
    small = shrunk(torch.full((2, 32, 32, 3), level, dtype=torch.uint8), side)
    assert small.shape == (2, side, side, 3)
    assert small.dtype == torch.uint8
    assert torch.equal(small, torch.full_like(small, level))


def test_detail_is_smoothed_and_not_sampled() -> None:
    columns = (torch.arange(32) % 2 * 255).to(torch.uint8)
    stripes = columns.view(1, 1, 32, 1).expand(1, 32, 32, 3).contiguous()
    inner = shrunk(stripes, 16)[0, 2:-2, 2:-2].float()
    assert inner.sub(127.5).abs().max() < 40, "stripes of one pixel become grey"


def test_sizes_must_be_smaller_and_fit_the_network() -> None:
    cifar = InputSpec(stored_size=32, image_size=32)
    lenet = build_network(ModelSection(name="lenet"), 10, cifar)
    for side, says in ((32, "32 is not below the 32 pixels"), (20, "cannot take images of 20 pixels")):
        with pytest.raises(RecipeError, match=says):
            check_sizes(AugmentSection(sizes=((side, 0.5),)), lenet)
    assert lenet.normalization.image_size == 32
    check_sizes(TWO, build_network(ModelSection(name="resnet18"), 10, cifar))


@pytest.fixture
def recipe(busy_recipe: dict[str, Any]) -> dict[str, Any]:
    """A speednet on enlarged images, with every option that came with it."""
    busy_recipe["data"] |= {"image_size": 20}
    busy_recipe["augment"] |= {"sizes": [[16, 0.4]]}
    busy_recipe["model"] = {"name": "speednet", "widths": [8, 8, 8]}
    busy_recipe["optimizer"] = {
        "name": "muon", "lr": 0.05, "muon_momentum": 0.6, "muon_iterations": 3, "muon_fixed_norm": True,
        "norm_bias_lr_factor": 4, "reference_batch_size": 128, "weight_decay": 1e-3,
    }  # fmt: skip
    busy_recipe["train"] |= {"epochs": 2, "batch_size": 256}
    busy_recipe["train"] |= {"freeze": ["*whitening*"], "freeze_epoch": 1}
    return busy_recipe


@pytest.mark.slow
def test_a_stop_at_any_size_changes_nothing(recipe: dict[str, Any], tmp_path: Path) -> None:
    train(recipe, out="whole", console=QUIET)
    for steps in (2, 4, 7):
        run = stopped_copy(recipe, tmp_path / f"stopped-{steps}", steps)
        train(resume=run, console=QUIET)
        assert differing(tmp_path / "whole", run) == [], steps


@pytest.mark.slow
def test_the_network_sees_each_size_when_it_is_its_turn(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []
    forward = torch.nn.Conv2d.forward

    def spy(layer: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if layer.in_channels == 3:
            seen.append((layer.training, x.shape[-1]))
        return forward(layer, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", spy)
    train(recipe, out="run", console=QUIET)
    sides = [side for is_training, side in seen if is_training]
    steps = len(sides)
    assert sides == [16] * int(np.ceil(0.4 * steps)) + [20] * (steps - int(np.ceil(0.4 * steps)))
    assert {side for is_training, side in seen if not is_training} - {16} == {20}, (
        "but for the trial of sizes"
    )
