"""The operator in torch: gradients, tracing, compiling, and torch's own form where kernels do not suit."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.kernels.library import Kernels
from pictorch.kernels.operator import conv3x3, conv3x3_pool2, pooled, suits, use

Operator = Callable[[Tensor, Tensor, Tensor | None], Tensor]


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


def gradient_of(one: Tensor) -> Tensor:
    assert one.grad is not None
    return one.grad


@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
@pytest.mark.parametrize("bias", [True, False])
def test_its_gradients_are_right_to_the_last_digits(operator: Operator, bias: bool) -> None:
    assert torch.autograd.gradcheck(operator, inputs(torch.float64, bias=bias))


def test_pooled_without_kernels_it_is_torchs_own_to_the_bit() -> None:
    mine, theirs = inputs(), inputs()
    y = conv3x3_pool2(*mine)
    right = F.max_pool2d(F.conv2d(*theirs, padding=1), 2)
    assert torch.equal(y, right)
    y.square().sum().backward()
    right.square().sum().backward()
    for one, other in zip(mine, theirs, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(gradient_of(one), gradient_of(other))


def test_a_map_that_is_too_small_to_pool_is_refused_as_torch_does() -> None:
    with pytest.raises(RuntimeError, match="Output size is too small"):
        conv3x3_pool2(torch.zeros(1, 3, 1, 5), torch.zeros(6, 3, 3, 3), None)


@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_a_gradient_that_nobody_wants_is_not_made(operator: Operator, wanted: tuple[bool, ...]) -> None:
    made = [one for one in inputs() if one is not None]
    given = [one.detach().requires_grad_(is_wanted) for one, is_wanted in zip(made, wanted, strict=True)]
    operator(*given).sum().backward()
    assert tuple(one.grad is not None for one in given) == wanted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck looks at tensors that it made itself
def test_it_keeps_the_rules_of_torch(own: Kernels) -> None:
    for bias in (True, False):
        torch.library.opcheck(conv3x3, inputs(bias=bias))
        torch.library.opcheck(pooled, inputs(bias=bias))


def gradients(operator: Operator, *, compiled: bool) -> list[Tensor]:
    given = inputs()

    def loss(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return operator(torch.relu(x), weight, bias).square().sum()

    (torch.compile(loss, fullgraph=True, backend="aot_eager") if compiled else loss)(*given).backward()
    return [one.grad for one in given if one is not None and one.grad is not None]


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
def test_it_computes_with_the_kernels_in_use(own: Kernels, operator: Operator) -> None:
    mine = gradients(operator, compiled=False)
    use(None)
    theirs = gradients(operator, compiled=False)
    for one, other in zip(mine, theirs, strict=True):
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
@pytest.mark.parametrize(
    "change",
    [
        lambda one: one[..., 1:, :-1],
        lambda one: one.flip(-1).transpose(2, 3),
        lambda one: one[:1].expand_as(one),
        lambda one: one.repeat_interleave(2, 1)[:, ::2],
    ],
    ids=["cut", "turned", "expanded", "every second"],
)
def test_any_order_of_memory(own: Kernels, operator: Operator, change: Callable[[Tensor], Tensor]) -> None:
    x = change(inputs()[0].detach().repeat(1, 1, 2, 2)).requires_grad_()
    weight = change(torch.nn.functional.pad(inputs()[1].detach(), (1, 0, 1, 0)))[..., :3, :3].requires_grad_()

    def results() -> list[Tensor]:
        y = operator(x, weight, None)
        return [y, *torch.autograd.grad(y.sum(), (x, weight))]  # of an expanded gradient

    mine = results()
    use(None)
    for one, other in zip(mine, results(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
def test_gradients_of_gradients_are_refused(own: Kernels, operator: Operator) -> None:
    x, weight, bias = inputs()
    (of_x,) = torch.autograd.grad(operator(x, weight, bias).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"pictorch.conv3x3\w*_gradient.* no autograd formula"):
        of_x.square().sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
def test_compiled_it_does_the_same(own: Kernels, operator: Operator) -> None:
    compiled, eager = gradients(operator, compiled=True), gradients(operator, compiled=False)
    for one, other in zip(compiled, eager, strict=True):
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
    pooled_y, expected_pooled = conv3x3_pool2(x, weight, bias), F.max_pool2d(expected, 2)
    assert (pooled_y.shape, pooled_y.dtype) == (expected_pooled.shape, expected_pooled.dtype)
    if case != "meta":
        assert torch.equal(y, expected)
        assert torch.equal(pooled_y, expected_pooled)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
def test_what_does_not_fit_is_refused_in_torchs_words(own: Kernels, operator: Operator) -> None:
    x, weight, bias = inputs()
    with pytest.raises(RuntimeError, match="channels"):
        operator(x[:, :1], weight, bias)
    with pytest.raises(RuntimeError, match="bias"):
        operator(x, weight, torch.ones(1))
    with pytest.raises(RuntimeError):  # one image without a batch, whose height is as many as the channels
        operator(x[0].transpose(0, 1)[:3], weight, bias)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [conv3x3, conv3x3_pool2])
def test_under_autocast_it_stays_in_float32(own: Kernels, operator: Operator) -> None:
    x, weight, bias = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        y = operator(x.bfloat16(), weight, bias)
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
