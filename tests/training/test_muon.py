"""Muon against a plain reference, and what it leaves to SGD."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pictorch.recipe import OptimizerSection
from pictorch.training.muon import orthogonalized
from pictorch.training.optimizers import build_optimizer

LR, MUON_LR, MOMENTUM, DECAY = 0.1, 0.02, 0.9, 0.05
SECTION = OptimizerSection(
    name="muon", lr=LR, muon_lr=MUON_LR, momentum=MOMENTUM, muon_weight_decay=DECAY, weight_decay=0.01
)


def make_network() -> nn.Module:
    """A stem, two filters of one shape, a tall one, and a head, in float64."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 64, 1),
        nn.Linear(64, 2),
    ]
    return nn.Sequential(*layers).double()


def draw_gradients(network: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def newton_schulz(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The iteration on one matrix, as the author writes it down."""
    x = matrix / matrix.norm()
    if len(x) > len(x.T):
        return newton_schulz(matrix.T, iterations).T
    for _ in range(iterations):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def test_singular_values_come_near_1_and_the_vectors_stay() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16), (1, 32, 288)):
        matrices = torch.randn(shape)
        found = orthogonalized(matrices)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.25
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        inner = left.mT @ found @ right.mT
        torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-3, rtol=0)


def test_steps_equal_a_plain_reference() -> None:
    network = make_network()
    optimizer = build_optimizer(SECTION, network)
    peaks = [group["lr"] for group in optimizer.param_groups]
    names = [name for name, _ in network.named_parameters()]
    filters = ("1.weight", "2.weight", "3.weight")
    expected = {name: p.detach().clone() for name, p in network.named_parameters()}
    velocities = {name: torch.zeros_like(p) for name, p in expected.items()}
    for step, factor in enumerate((1.0, 0.5, 2.0)):
        draw_gradients(network, step)
        gradients: dict[str, Any] = {name: p.grad.clone() for name, p in network.named_parameters()}  # type: ignore[union-attr]
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad()
        for name in names:
            value, gradient = expected[name], gradients[name]
            if name not in filters:
                gradient = gradient + 0.01 * value
            velocities[name] = MOMENTUM * velocities[name] + gradient
            direction = gradient + MOMENTUM * velocities[name]
            if name in filters:
                matrix = newton_schulz(direction.flatten(1)) * max(1, len(value) / value[0].numel()) ** 0.5
                value = value * (1 - factor * MUON_LR * DECAY) - factor * MUON_LR * matrix.reshape(
                    value.shape
                )
            else:
                value = value - factor * LR * direction
            expected[name] = value
    found = {name: p.detach() for name, p in network.named_parameters()}
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_all_iterations_at_once_are_one_after_the_other(iterations: int) -> None:
    """Also for matrices that are nearly of a lower rank, whose Gram matrix float32 cannot tell from it."""
    torch.manual_seed(0)
    matrices = torch.randn(2, 48, 432) * torch.logspace(0, -6, 48)[:, None]
    expected = torch.stack([newton_schulz(matrix.double(), iterations) for matrix in matrices])
    torch.testing.assert_close(orthogonalized(matrices, iterations).double(), expected, atol=2e-4, rtol=0)


def test_its_weight_decay_is_decoupled() -> None:
    """It shrinks the weights by the rate times the decay, and does not turn the step."""
    moved = {}
    for decay in (0.0, 0.5):
        network = make_network()
        before = network[1].weight.detach().clone()  # type: ignore[union-attr]
        optimizer = build_optimizer(SECTION.model_copy(update={"muon_weight_decay": decay}), network)
        draw_gradients(network, 0)
        optimizer.step()
        moved[decay] = network[1].weight.detach() - before * (1 - MUON_LR * decay)  # type: ignore[union-attr]
    torch.testing.assert_close(moved[0.5], moved[0.0], atol=1e-12, rtol=0)


def test_frozen_filters_stay_and_have_no_momentum() -> None:
    network = make_network()
    optimizer = build_optimizer(SECTION, network)
    network[1].requires_grad_(False)
    before = network[1].weight.detach().clone()  # type: ignore[union-attr]
    draw_gradients(network, 0)
    optimizer.step()
    assert torch.equal(network[1].weight, before)  # type: ignore[arg-type]
    assert not optimizer.state[network[1].weight]["momentum_buffer"].any()  # type: ignore[index]
    network[1].requires_grad_(True)
    draw_gradients(network, 1)
    optimizer.step()
    assert not torch.equal(network[1].weight, before)  # type: ignore[arg-type]


def test_its_state_is_saved_and_restored_bit_for_bit() -> None:
    states = []
    for is_stopped in (False, True):
        network = make_network()
        optimizer = build_optimizer(SECTION, network)
        for step in range(4):
            if is_stopped and step == 2:
                saved = optimizer.state_dict()
                optimizer = build_optimizer(SECTION, network)
                optimizer.load_state_dict(saved)
            draw_gradients(network, step)
            optimizer.step()
        states.append([p.detach() for p in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_rest_moves_as_sgd_moves_it(nesterov: bool) -> None:
    ends = []
    for name in ("muon", "sgd"):
        network = make_network()
        section = SECTION.model_copy(
            update={"name": name, "nesterov": nesterov, "decay_norm_and_bias": False}
        )
        optimizer = build_optimizer(section, network)
        for step in range(3):
            draw_gradients(network, step)
            optimizer.step()
        ends.append([network[0].weight, network[0].bias, network[3].bias, network[4].weight])
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]


def test_a_fixed_norm_and_a_momentum_of_its_own() -> None:
    network = make_network()
    update = {"muon_fixed_norm": True, "muon_momentum": 0.5, "muon_iterations": 3, "muon_weight_decay": 0.0}
    optimizer = build_optimizer(SECTION.model_copy(update=update), network)
    before = network[1].weight.detach().clone()  # type: ignore[union-attr]
    gradients = []
    for step in range(2):
        draw_gradients(network, step)
        gradients.append(network[1].weight.grad.clone())  # type: ignore[union-attr]
        optimizer.step()
        velocity = gradients[0] if step == 0 else 0.5 * gradients[0] + gradients[1]
        direction = (gradients[step] + 0.5 * velocity).flatten(1)
        expected = before * 2 / before.norm() - MUON_LR * orthogonalized(direction[None], 3).view(4, 4, 3, 3)
        torch.testing.assert_close(network[1].weight.detach(), expected, atol=1e-9, rtol=0)  # type: ignore[union-attr]
        before = network[1].weight.detach().clone()  # type: ignore[union-attr]


def test_a_state_from_before_they_could_be_set_goes_on() -> None:
    ends = []
    for is_old in (False, True):
        network = make_network()
        optimizer = build_optimizer(SECTION, network)
        draw_gradients(network, 0)
        optimizer.step()
        state = optimizer.state_dict()
        if is_old:
            for group in state["param_groups"]:
                for key in ("filters_momentum", "iterations", "fixed_norm"):
                    group.pop(key, None)
        optimizer.load_state_dict(state)
        draw_gradients(network, 1)
        optimizer.step()
        ends.append([p.detach() for p in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
