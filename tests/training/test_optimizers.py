"""Optimisers against their formulas by hand, and which weights decay."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.recipe import OptimizerSection
from pictorch.training.optimizers import OPTIMIZERS, build_optimizer, for_batch_size, parameter_groups

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01


class Weights(nn.Module):
    """One matrix and one bias, and the gradients of three steps."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
        self.gradients = [
            [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in self.parameters()]
            for _ in range(3)
        ]


def trained(section: OptimizerSection, lrs: list[float]) -> list[Tensor]:
    """Returns matrix and bias after a step for each learning rate."""
    weights = Weights()
    optimizer = build_optimizer(section, weights)
    for lr, gradients in zip(lrs, weights.gradients, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for parameter, gradient in zip(weights.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in weights.parameters()]


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decays_bias", [True, False])
def test_sgd_by_hand(nesterov: bool, decays_bias: bool) -> None:
    section = OptimizerSection(
        lr=LR, momentum=MOMENTUM, nesterov=nesterov, weight_decay=DECAY, decay_norm_and_bias=decays_bias
    )
    lrs, weights, expected = [0.1, 0.05, 0.2], Weights(), []
    for index, parameter in enumerate(weights.parameters()):
        value, velocity = parameter.detach().clone(), torch.zeros_like(parameter)
        decay = DECAY if index == 0 or decays_bias else 0.0
        for lr, gradients in zip(lrs, weights.gradients, strict=True):
            gradient = gradients[index] + decay * value
            velocity = MOMENTUM * velocity + gradient
            value = value - lr * (gradient + MOMENTUM * velocity if nesterov else velocity)
        expected.append(value)
    torch.testing.assert_close(trained(section, lrs), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("decays_bias", [True, False])
def test_adamw_by_hand(decays_bias: bool) -> None:
    section = OptimizerSection(
        name="adamw", lr=LR, betas=(0.8, 0.95), weight_decay=DECAY, decay_norm_and_bias=decays_bias
    )
    lrs, weights, expected = [0.1, 0.05, 0.2], Weights(), []
    for index, parameter in enumerate(weights.parameters()):
        value, first, second = parameter.detach().clone(), 0.0, 0.0
        decay = DECAY if index == 0 or decays_bias else 0.0
        for step, (lr, gradients) in enumerate(zip(lrs, weights.gradients, strict=True), start=1):
            gradient = gradients[index]
            first = 0.8 * first + 0.2 * gradient
            second = 0.95 * second + 0.05 * gradient**2
            value = value * (1 - lr * decay)
            value = value - lr * (first / (1 - 0.8**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
        expected.append(value)
    torch.testing.assert_close(trained(section, lrs), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["adam", "adagrad", "rmsprop"])
def test_scaled_steps_by_hand(name: Any) -> None:
    section = OptimizerSection(name=name, lr=LR, betas=(0.8, 0.95), square_decay=0.95, weight_decay=DECAY)
    lrs, weights, expected = [0.1, 0.05, 0.2], Weights(), []
    for index, parameter in enumerate(weights.parameters()):
        value, first, second = parameter.detach().clone(), 0.0, torch.zeros_like(parameter)
        for step, (lr, gradients) in enumerate(zip(lrs, weights.gradients, strict=True), start=1):
            gradient = gradients[index] + DECAY * value
            if name == "adam":
                first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient**2
                move = (first / (1 - 0.8**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
            elif name == "adagrad":
                second = second + gradient**2
                move = gradient / (second.sqrt() + 1e-10)
            else:
                second = 0.95 * second + 0.05 * gradient**2
                move = gradient / (second.sqrt() + 1e-8)
            value = value - lr * move
        expected.append(value)
    torch.testing.assert_close(trained(section, lrs), expected, atol=1e-9, rtol=1e-9)


def test_nesterov_needs_momentum_and_is_left_out_without_it() -> None:
    section = OptimizerSection(lr=LR, momentum=0.0, nesterov=True)
    weights = Weights()
    expected = [p.detach() - LR * g for p, g in zip(weights.parameters(), weights.gradients[0], strict=True)]
    torch.testing.assert_close(trained(section, [LR]), expected)


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_norms_and_biases_may_be_spared(network: nn.Module) -> None:
    section = OptimizerSection(lr=LR, weight_decay=DECAY, decay_norm_and_bias=False)
    decaying, spared = parameter_groups(section, network)
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    assert [named[id(p)] for p in decaying["params"]] == ["0.weight", "3.weight"]
    assert [named[id(p)] for p in spared["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert (decaying["weight_decay"], spared["weight_decay"]) == (DECAY, 0.0)
    groups = build_optimizer(section, network).param_groups
    assert [group["weight_decay"] for group in groups] == [DECAY, 0.0]


def test_all_may_decay(network: nn.Module) -> None:
    (group,) = parameter_groups(OptimizerSection(lr=LR, weight_decay=DECAY), network)
    assert group["weight_decay"] == DECAY
    assert len(group["params"]) == 6


def rates(network: nn.Module, section: OptimizerSection) -> dict[str, tuple[float, float, bool]]:
    """Returns rate, weight decay and whether it moves as a filter, for each parameter by name."""
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        named[id(parameter)]: (group["lr"], group["weight_decay"], group.get("filters", False))
        for group in build_optimizer(section, network).param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"muon"}))
def test_the_backbone_has_a_rate_of_its_own(network: nn.Module, name: Any) -> None:
    section = OptimizerSection(
        name=name, lr=LR, weight_decay=DECAY, backbone_lr_factor=0.25, decay_norm_and_bias=False
    )
    expected = {
        "0.weight": (LR / 4, DECAY, False),
        "0.bias": (LR / 4, 0.0, False),
        "1.weight": (LR / 4, 0.0, False),
        "1.bias": (LR / 4, 0.0, False),
        "3.weight": (LR, DECAY, False),
        "3.bias": (LR, 0.0, False),
    }
    assert rates(network, section) == expected


def test_muon_takes_the_filters_between_stem_and_head() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Linear(4, 8),
        nn.Conv2d(8, 2, 1),
    )
    section = OptimizerSection(
        name="muon", lr=LR, weight_decay=DECAY, muon_lr=0.5, muon_weight_decay=0.3, backbone_lr_factor=0.5
    )
    found = rates(network, section)
    assert found.pop("1.weight") == (0.25, 0.3, True)
    assert found.pop("4.weight") == found.pop("4.bias") == (LR, DECAY, False)
    assert len(found) == 7
    assert set(found.values()) == {(LR / 2, DECAY, False)}
    with pytest.raises(RecipeError, match="give `--set optimizer"):
        build_optimizer(section, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_may_begin_to_learn_later(network: nn.Module, name: Any) -> None:
    """What is unfrozen moves from then on as if it had begun there; what was frozen does not decay."""
    network.insert(1, nn.Conv2d(4, 4, 1))  # type: ignore[operator]
    section = OptimizerSection(name=name, lr=LR, weight_decay=DECAY, muon_weight_decay=DECAY)
    optimizer = build_optimizer(section, network)
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    for learning in (("4.weight", "4.bias"), tuple(before)):
        kept = {key: value.detach().clone() for key, value in network.named_parameters()}
        for key, parameter in network.named_parameters():
            parameter.grad = torch.ones_like(parameter) if key in learning else None
        optimizer.step()
        for key, parameter in network.named_parameters():
            assert torch.equal(parameter, kept[key]) == (key not in learning), key
    start = nn.Parameter(before["0.bias"])
    alone = build_optimizer(
        section.model_copy(update={"name": "sgd" if name == "muon" else name}), One(start)
    )
    start.grad = torch.ones_like(start)
    alone.step()
    torch.testing.assert_close(dict(network.named_parameters())["0.bias"], start)


class One(nn.Module):
    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        self.parameter = parameter


def test_frozen_parameters_and_empty_groups_are_left_out(network: nn.Module) -> None:
    section = OptimizerSection(lr=LR, decay_norm_and_bias=False)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name == "0.weight")
    (group,) = parameter_groups(section, network)
    assert [tuple(p.shape) for p in group["params"]] == [(4, 3, 3, 3)]
    assert group["weight_decay"] == 0.0


def test_biases_of_norms_have_a_rate_of_their_own_and_the_decay_of_the_others() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    section = OptimizerSection(lr=LR, weight_decay=DECAY, norm_bias_lr_factor=8)
    groups = parameter_groups(section, network)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    ordinary, raised = (LR, DECAY), (8 * LR, DECAY / 8)
    expected = {name: raised if name == "1.bias" else ordinary for name, _ in network.named_parameters()}
    assert {name: found[id(p)] for name, p in network.named_parameters()} == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_for_a_batch_size_stay_at_that_size(name: str) -> None:
    section = OptimizerSection(name=name, lr=LR, reference_batch_size=128)  # type: ignore[arg-type]
    assert for_batch_size(section, 128) is section
    plain = OptimizerSection(name=name, lr=LR)  # type: ignore[arg-type]
    assert for_batch_size(plain, 999) is plain


@given(st.sampled_from(list(OPTIMIZERS)), st.integers(1, 4096), st.integers(1, 4096))
def test_scaling_there_and_back_changes_nothing(name: str, one: int, other: int) -> None:
    section = OptimizerSection(name=name, lr=LR, weight_decay=DECAY, reference_batch_size=one)  # type: ignore[arg-type]
    there = for_batch_size(section, other).model_copy(update={"reference_batch_size": other})
    back = for_batch_size(there, one).model_dump()
    for key, value in section.model_dump(exclude={"reference_batch_size"}).items():
        assert back[key] == (value if isinstance(value, str | None) else pytest.approx(value)), key


def test_twice_the_batch_of_one_image_moves_the_weights_twice_as_far() -> None:
    """What the linear rule means: the same gradients in half as many steps."""
    section = OptimizerSection(lr=LR, momentum=0.0, nesterov=False, reference_batch_size=64)
    small, large = for_batch_size(section, 64), for_batch_size(section, 128)
    assert large.lr == 2 * small.lr
    momenta = [for_batch_size(section.model_copy(update={"momentum": 0.9}), n).momentum for n in (64, 128)]
    assert momenta[1] == pytest.approx(momenta[0] ** 2)
    decays = [for_batch_size(section.model_copy(update={"name": "muon"}), n) for n in (64, 128)]
    an_image = [s.muon_lr * s.muon_weight_decay / n for s, n in zip(decays, (64, 128), strict=True)]
    assert an_image[0] == pytest.approx(an_image[1])
