"""The operator in torch: gradients, tracing, compiling, and torch's own form where kernels do not suit."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pictorch.kernels.library import Kernels
from pictorch.kernels.operator import conv3x3, suits, use


@pytest.fixture
def own(kernels: Kernels) -> Iterator[Kernels]:
    use(kernels)
    yield kernels
    use(None)


def inputs(dtype: torch.dtype = torch.float32, *, bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns x (2, 3, 5, 4), weight (6, 3, 3, 3) and bias, which want gradients."""
    draw = torch.Generator().manual_seed(0)
    made = [torch.randn(*shape, generator=draw, dtype=dtype) for shape in ((2, 3, 5, 4), (6, 3, 3, 3), (6,))]
    x, weight, added = (one.requires_grad_() for one in made)
    return x, weight, added if bias else None


@pytest.mark.parametrize("bias", [True, False])
def test_its_gradients_are_right_to_the_last_digits(bias: bool) -> None:
    assert torch.autograd.gradcheck(conv3x3, inputs(torch.float64, bias=bias))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_a_gradient_that_nobody_wants_is_not_made(wanted: tuple[bool, ...]) -> None:
    made = [one for one in inputs() if one is not None]
    given = [one.detach().requires_grad_(is_wanted) for one, is_wanted in zip(made, wanted, strict=True)]
    conv3x3(*given).sum().backward()
    assert tuple(one.grad is not None for one in given) == wanted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck looks at tensors that it made itself
def test_it_keeps_the_rules_of_torch(own: Kernels) -> None:
    for bias in (True, False):
        torch.library.opcheck(conv3x3, inputs(bias=bias))


def gradients(compiled: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    given = inputs(dtype)

    def loss(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = conv3x3(torch.relu(x), weight, bias)
        return y.square().sum()

    (torch.compile(loss, fullgraph=True, backend="aot_eager") if compiled else loss)(*given).backward()
    return [one.grad for one in given if one is not None and one.grad is not None]


@pytest.mark.slow
def test_it_computes_with_the_kernels_in_use(own: Kernels) -> None:
    mine = gradients(compiled=False)
    use(None)
    theirs = gradients(compiled=False)
    for one, other in zip(mine, theirs, strict=True):
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_compiled_it_does_the_same(own: Kernels) -> None:
    for one, other in zip(gradients(compiled=True), gradients(compiled=False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["dtype", "empty", "meta"])
def test_what_kernels_cannot_do_goes_to_torch(own: Kernels, case: str) -> None:
    dtype = torch.bfloat16 if case == "dtype" else torch.float32
    x, weight, bias = inputs(dtype)
    if case == "empty":
        x = x[:0]
    if case == "meta":
        x, weight, bias = x.to("meta"), weight.to("meta"), None
    y = conv3x3(x, weight, bias)
    expected = torch.conv2d(x, weight, bias, padding=1)
    assert (y.shape, y.dtype, y.device) == (expected.shape, expected.dtype, expected.device)
    if case != "meta":
        assert torch.equal(y, expected)


@pytest.mark.slow
def test_under_autocast_it_stays_in_float32(own: Kernels) -> None:
    x, weight, bias = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv3x3(x.bfloat16(), weight, bias)
    assert y.dtype is torch.float32


@pytest.mark.parametrize(
    ("layer", "does"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), True),
        (nn.Conv2d(3, 4, 3, padding="same"), True),
        (nn.Conv2d(3, 4, 3), False),
        (nn.Conv2d(3, 4, 5, padding=1), False),
        (nn.Conv2d(3, 4, 3, padding=1, stride=2), False),
        (nn.Conv2d(3, 4, 3, padding=2, dilation=2), False),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), False),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), False),
    ],
)
def test_layers_that_it_can_stand_for(layer: nn.Conv2d, does: bool) -> None:
    assert suits(layer) is does
