"""The family of speednet: its size, its shape, and what a recipe may change in it."""

import pytest
import torch
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.kernels import layers
from pictorch.kernels.layers import suitable_layers, use_conv3x3
from pictorch.networks import Classifier, build_network
from pictorch.recipe import ModelSection


def built(side: int = 32, **options: object) -> Classifier:
    torch.manual_seed(0)
    section = ModelSection.model_validate({"name": "speednet", **options})
    return build_network(section, 10, InputSpec(stored_size=side, image_size=side))


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("widths", "depth", "count"),
    [(None, None, 1_972_792), ([64, 128, 128], 2, 569_656), ([128, 384, 512], 3, 9_918_776)],
)
def test_parameters(widths: list[int] | None, depth: int | None, count: int) -> None:
    with torch.device("meta"):
        network = built(widths=widths, depth=depth)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("side", [16, 20, 31, 64])
def test_sides(side: int) -> None:
    images = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    assert built(side, widths=[16, 16, 16])(images).shape == (2, 10)


def test_filters_begin_as_the_identity_of_their_channels() -> None:
    weight = built().get_parameter("network.groups.1.convolutions.0.weight")
    expected = torch.zeros((64, 64, 3, 3))
    expected[range(64), range(64), 1, 1] = 1
    assert torch.equal(weight[:64], expected)
    assert weight[64:].abs().max() > 0.01


def test_norms_are_as_the_recipe_says() -> None:
    own = norms(built())
    assert all(not n.weight.requires_grad and n.bias.requires_grad and n.momentum == 0.4 for n in own)
    changed = norms(built(norm_scale="learned", norm_momentum=0.1))
    assert all(n.weight.requires_grad and n.momentum == 0.1 for n in changed)


def test_logits_are_scaled() -> None:
    def logits(scale: float | None) -> Tensor:
        images = torch.arange(2 * 32 * 32 * 3, dtype=torch.int64).view(2, 32, 32, 3) % 251
        with torch.no_grad():
            found: Tensor = built(logit_scale=scale).eval()(images.to(torch.uint8))
        return found

    torch.testing.assert_close(logits(None), logits(1.0) / 9)
    torch.testing.assert_close(logits(0.5), logits(1.0) / 2)


def test_a_shortcut_leads_around_the_last_two_of_three() -> None:
    network = built(widths=[8, 8, 8], depth=3).eval().network
    group = network.get_submodule("groups.1")
    x = torch.randn((2, 8, 8, 8))
    with torch.no_grad():
        for place in (1, 2):
            group.get_parameter(f"convolutions.{place}.weight").zero_()
            group.get_parameter(f"norms.{place}.bias").zero_()
        first = group.get_submodule("norms.0")(
            nn.functional.max_pool2d(group.get_submodule("convolutions.0")(x), 2)
        )
        silu = nn.functional.silu
        torch.testing.assert_close(group(x), silu(silu(first)))


def test_widths_of_other_networks_are_fixed() -> None:
    section = ModelSection(name="lenet", depth=3)
    with pytest.raises(RecipeError, match=r"^model\.depth: that of lenet is fixed; give `--set model\.depth"):
        build_network(section, 10, InputSpec(stored_size=32, image_size=32))


@pytest.mark.parametrize("whitening", [True, False])
def test_where_it_trains_by_kernels_pooling_is_part_of_the_convolution(
    whitening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    real = layers.conv3x3_pool2
    monkeypatch.setattr(
        layers, "conv3x3_pool2", lambda x, *others: called.append(x.shape[2]) or real(x, *others)
    )
    network = built(widths=[8, 8, 8], depth=3, whitening=whitening).train()
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8)

    def results() -> list[Tensor]:
        network.zero_grad()
        logits = network(images)
        logits.logsumexp(1).sum().backward()
        return [logits, *(p.grad for p in network.parameters() if p.grad is not None)]

    theirs = results()
    assert called == []
    use_conv3x3(network, suitable_layers(network))
    for mine, right in zip(results(), theirs, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)
    assert called == ([31, 15, 7] if whitening else [32, 16, 8])
    network.eval()(images)
    assert len(called) == 3
