"""The average of the weights, by hand."""

import pytest
import torch
from torch import nn

from pictorch.training.ema import WeightAverage


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def change(network: nn.Module, step: int) -> None:
    """Moves weights and statistics, as a training step does."""
    generator = torch.Generator().manual_seed(step)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor += torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        else:
            tensor += 1


def test_weights_and_statistics_by_hand(network: nn.Module) -> None:
    average = WeightAverage(network, decay=0.5)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(12):
        change(network, step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = tensor.clone()
    found = dict(average.network.state_dict())
    assert found["1.num_batches_tracked"] == 12
    assert {"0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"} <= found.keys()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_the_start_is_soon_forgotten(network: nn.Module) -> None:
    """The decay is 0.1 at the first step, whatever its final value is."""
    average = WeightAverage(network, decay=0.9999)
    start = network[0].weight.detach().clone()  # type: ignore[index,union-attr]
    with torch.no_grad():
        network[0].weight.add_(1.0)  # type: ignore[index,union-attr]
    average.update(0)
    torch.testing.assert_close(average.network[0].weight.detach(), start + 0.9)  # type: ignore[index]


def test_the_average_stands_apart_and_is_ready_to_judge(network: nn.Module) -> None:
    average = WeightAverage(network, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in average.network.modules())
    assert network.training
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept = {name: tensor.clone() for name, tensor in average.network.state_dict().items()}
    change(network, 0)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in average.network.state_dict().items())
    moved = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    average.update(0)
    assert all(torch.equal(tensor, moved[name]) for name, tensor in network.state_dict().items())
    assert not torch.equal(moved["0.weight"], before["0.weight"])


def test_state_that_a_layer_puts_anew_is_followed(network: nn.Module) -> None:
    """As layers do that keep statistics of their own: `self.mean = 0.9 * self.mean + ...`."""
    average = WeightAverage(network, decay=0.5)
    norm = network[1]  # type: ignore[index]
    norm.running_mean, norm.num_batches_tracked = norm.running_mean + 4, norm.num_batches_tracked + 3
    average.update(1_000)
    found = average.network.state_dict()
    torch.testing.assert_close(found["1.running_mean"], torch.full((4,), 2.0, dtype=torch.float64))
    assert found["1.num_batches_tracked"] == 3
