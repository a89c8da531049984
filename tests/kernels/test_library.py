"""The kernels against direct convolution in float64, in every form that this processor can run."""

import itertools
import os
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from pictorch.kernels import library
from pictorch.kernels.building import SOURCES, Unavailable, find_compiler
from pictorch.kernels.library import TOLERANCE, Kernels, load

pytestmark = pytest.mark.slow

ORDERS = (torch.contiguous_format, torch.channels_last)


def form(kernels: Kernels, instruction_set: str) -> Kernels:
    """Returns another form of the same library; skips where this processor cannot run it."""
    found = load(kernels.path, instruction_set)
    if isinstance(found, Unavailable):
        pytest.skip(f"no {instruction_set}: {found.reason}")
    return found


def difference(mine: Tensor, right: Tensor, squares: Tensor) -> float:
    """Returns the largest difference, as a share of what a sum of so many products usually is."""
    return float((mine - right).abs().max() / squares.clamp(min=0).sqrt().max())


def check(kernels: Kernels, shape: tuple[int, ...], order: torch.memory_format, seed: int = 0) -> None:
    images, height, width, inputs, outputs = shape
    draw = torch.Generator().manual_seed(seed)
    x, gradient = (torch.randn(images, n, height, width, generator=draw) for n in (inputs, outputs))
    weight = torch.randn(outputs, inputs, 3, 3, generator=draw).contiguous(memory_format=order)
    bias = torch.randn(outputs, generator=draw)
    y = kernels.forward(x.contiguous(memory_format=order), weight, bias)
    of_x = kernels.input_gradient(gradient.contiguous(memory_format=order), weight)
    of_weight, of_bias = kernels.weight_gradient(x, gradient, weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert of_weight.stride() == weight.stride()
    whole, squares = outputs_of(x, weight, bias)
    assert difference(y, whole, squares) <= TOLERANCE
    check_gradients((of_x, of_weight, of_bias), x, weight, gradient.double())


def outputs_of(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the output in float64, and that of the squares."""
    x, weight, bias = x.double(), weight.double(), bias.double()
    return F.conv2d(x, weight, bias, padding=1), F.conv2d(x**2, weight**2, bias**2, padding=1)


def check_gradients(mine: tuple[Tensor, Tensor, Tensor], x: Tensor, weight: Tensor, gradient: Tensor) -> None:
    exact_x, exact_w = x.double(), weight.double()
    for one, right, squares in zip(
        mine,
        (
            conv2d_input(x.shape, exact_w, gradient, padding=1),
            conv2d_weight(exact_x, weight.shape, gradient, padding=1),
            gradient.sum((0, 2, 3)),
        ),
        (
            conv2d_input(x.shape, exact_w**2, gradient**2, padding=1),
            conv2d_weight(exact_x**2, weight.shape, gradient**2, padding=1),
            (gradient**2).sum((0, 2, 3)),
        ),
        strict=True,
    ):
        assert one.shape == right.shape
        assert difference(one, right, squares) <= TOLERANCE


def check_pooled(kernels: Kernels, shape: tuple[int, ...], order: torch.memory_format, seed: int = 0) -> None:
    """As `check`; of pixels whose float32 values are as good as equal either may be taken."""
    images, height, width, inputs, outputs = shape
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(images, inputs, height, width, generator=draw)
    weight = torch.randn(outputs, inputs, 3, 3, generator=draw).contiguous(memory_format=order)
    bias = torch.randn(outputs, generator=draw)
    y, which = kernels.forward_pool2(x.contiguous(memory_format=order), weight, bias)
    whole, squares = outputs_of(x, weight, bias)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert difference(y, F.max_pool2d(whole, 2), squares) <= TOLERANCE
    gradient = torch.randn(y.shape, generator=draw).contiguous(memory_format=order)
    at = torch.stack([which == number for number in range(4)], -1)
    assert at.any(-1).all()
    windows = whole[..., : height // 2 * 2, : width // 2 * 2].unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    windows = windows.transpose(3, 4).flatten(4)
    assert difference(windows[at], F.max_pool2d(whole, 2).flatten(), squares) <= TOLERANCE
    spread = (gradient[..., None] * at).double().unflatten(4, (2, 2)).transpose(3, 4).flatten(4).flatten(2, 3)
    exact_g = F.pad(spread, (0, width % 2, 0, height % 2))
    of_x = kernels.input_gradient(gradient, weight, which, (height, width))
    of_weight, of_bias = kernels.weight_gradient(x, gradient, weight, which)
    assert of_weight.stride() == weight.stride()
    check_gradients((of_x, of_weight, of_bias), x, weight, exact_g)


sizes = st.integers(1, 13)
channels = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 255, 256, 257, 511, 512, 513]))


@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "generic"])
@given(
    shape=st.tuples(st.integers(1, 3), sizes, sizes, channels, channels),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape(
    kernels: Kernels,
    instruction_set: str,
    shape: tuple[int, ...],
    order: torch.memory_format,
    seed: int,
) -> None:
    check(form(kernels, instruction_set), shape, order, seed)
    if min(shape[1:3]) > 1:
        check_pooled(form(kernels, instruction_set), shape, order, seed)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1),
        (1, 1, 1, 513, 513),
        (1, 33, 2, 3, 64),
        (72, 31, 31, 24, 64),  # many chunks, an output that no cache holds
        (5, 9, 9, 64, 256),  # pooled, of nine tiles four are needed
        (16, 8, 8, 256, 272),  # threads share channels; a last panel of one vector
        (8, 4, 4, 512, 512),
    ],
)
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_shapes_of_networks(kernels: Kernels, shape: tuple[int, ...], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(kernels, shape, torch.channels_last)
        if min(shape[1:3]) > 1:
            check_pooled(kernels, shape, torch.channels_last)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "generic"])
def test_nan_and_infinity_pass_through(kernels: Kernels, instruction_set: str, value: float) -> None:
    of_form = form(kernels, instruction_set)
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 17, 3, 3, generator=draw)
    for row, column in ((0, 0), (3, 4), (6, 8)):
        x = torch.randn(2, 17, 7, 9, generator=draw)
        x[1, 5, row, column] = value
        touched = torch.zeros(2, 1, 7, 9, dtype=torch.bool)
        touched[1, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
        y = of_form.forward(x, weight, None)
        assert not y.isfinite()[touched.expand_as(y)].any()
        assert y[0].isfinite().all()
        of_x = of_form.input_gradient(x, weight.transpose(0, 1).contiguous())
        assert not of_x.isfinite()[touched.expand_as(of_x)].any()
        of_weight, _ = of_form.weight_gradient(x, torch.randn(2, 20, 7, 9, generator=draw), weight)
        assert not of_weight[:, 5, 1, 1].isfinite().any()
        assert of_weight[:, 4].isfinite().all()


@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "generic"])
def test_pooling_takes_the_pixel_that_torch_takes(kernels: Kernels, instruction_set: str) -> None:
    """The largest, the first of equals, and NaN before every number; one tap of 1 makes a copy."""
    of_form = form(kernels, instruction_set)
    orders = torch.tensor(list(itertools.permutations([-2.0, -1.0, 0.0, 1.0])))
    x = torch.zeros(24, 1, 5, 5)
    x[:, 0, 2:4, 0:2] = orders.view(24, 2, 2)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1
    y, which = of_form.forward_pool2(x, weight, None)
    torch.testing.assert_close(y[:, 0, 1, 0], torch.ones(24), atol=1e-5, rtol=0)
    assert torch.equal(which[:, 0, 1, 0].long(), orders.argmax(1))
    _, which = of_form.forward_pool2(x, torch.zeros(1, 1, 3, 3), None)
    assert not which.any()
    x[7, 0, 0, 0] = float("nan")
    y, _ = of_form.forward_pool2(x, weight, None)
    assert y[7, 0, 0, 0].isnan()
    assert y.isfinite().flatten(1).all(1).sum() == 23


def test_the_same_bits_every_time(kernels: Kernels) -> None:
    draw = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(30, n, 15, 15, generator=draw) for n in (48, 64))
    weight = torch.randn(64, 48, 3, 3, generator=draw)

    def results() -> list[Tensor]:
        small, which = kernels.forward_pool2(x, weight, None)
        return [
            kernels.forward(x, weight, None),
            kernels.input_gradient(gradient, weight),
            *kernels.weight_gradient(x, gradient, weight),
            small,
            which,
            kernels.input_gradient(small, weight, which, (15, 15)),
            *kernels.weight_gradient(x, small, weight, which),
        ]

    first = results()
    for _ in range(5):
        assert all(torch.equal(one, other) for one, other in zip(first, results(), strict=True))


def test_denormals_are_zeros_on_all_threads_or_on_none(kernels: Kernels) -> None:
    """Each thread has a switch of its own, and the one that takes a tile is another every time."""
    x = torch.zeros(64, 32, 32, 32).contiguous(memory_format=torch.channels_last)
    x.view(torch.int32).fill_(1_000_000)
    weight = torch.zeros(32, 32, 3, 3)
    weight[range(32), range(32), 1, 1] = 1
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert kernels.forward(x, weight, None).view(torch.int32).count_nonzero() == x.numel()
        torch.set_flush_denormal(True)
        y = kernels.forward(x, weight, None)
        torch.set_flush_denormal(False)
        assert y.view(torch.int32).count_nonzero() == 0
        assert kernels.forward(x, weight, None).view(torch.int32).count_nonzero() == x.numel()
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def test_kernels_that_compute_wrongly_are_refused(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "TOLERANCE", 1e-12)
    refused = load(kernels.path)
    assert isinstance(refused, Unavailable)
    assert refused.reason.startswith(
        f"the {kernels.instruction_set} kernels compute wrongly here (difference"
    )


@pytest.mark.parametrize("instruction_set", ["avx512", "avx2", "generic"])
def test_nothing_is_read_that_was_not_written(kernels: Kernels, instruction_set: str) -> None:
    """Torch fills new memory with NaN where a program wants determinism."""
    torch.use_deterministic_algorithms(True)
    try:
        for shape in ((2, 8, 7, 4, 6), (3, 5, 9, 33, 17), (1, 2, 2, 1, 1), (2, 12, 12, 70, 130)):
            check(form(kernels, instruction_set), shape, torch.channels_last)
            check_pooled(form(kernels, instruction_set), shape, torch.channels_last)
    finally:
        torch.use_deterministic_algorithms(False)


def test_another_default_type_and_device_change_nothing(kernels: Kernels) -> None:
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            assert isinstance(load(kernels.path), Kernels)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_form_that_is_not_there(kernels: Kernels) -> None:
    assert load(kernels.path, "mmx") == Unavailable("this processor cannot run the mmx kernels")


@pytest.mark.parametrize("check", ["address,undefined", "thread"])
def test_no_sanitizer_finds_anything(tmp_path: Path, check: str) -> None:
    """In a program without Python, whose buffers are exactly as large as they must be."""
    if isinstance(compiler := find_compiler(), Unavailable):
        pytest.skip(f"no sanitizers: {compiler.reason}")
    options = ["-std=c++17", "-O1", "-g", f"-fsanitize={check}", "-fno-sanitize-recover=all", "-pthread"]
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() {}")
    probe = subprocess.run([compiler.path, *options, empty, "-o", tmp_path / "probe"], capture_output=True)
    if probe.returncode != 0 or subprocess.run([tmp_path / "probe"]).returncode != 0:
        pytest.skip(f"no sanitizers: {compiler.version} has no {check}")
    forms = {"avx512": ["-mavx512f", "-mfma"], "avx2": ["-mavx2", "-mfma"], "generic": []}
    if os.uname().machine != "x86_64":
        forms = {"generic": []}
    objects = [(name, [*words, str(SOURCES / "convolution.cpp")]) for name, words in forms.items()]
    objects += [(name, [str(SOURCES / f"{name}.cpp")]) for name in ("threads", "interface")]
    objects.append(("program", [f"-I{SOURCES}", str(Path(__file__).with_name("sanitized.cpp"))]))
    for name, words in objects:
        subprocess.run([compiler.path, *options, "-c", *words, "-o", tmp_path / f"{name}.o"], check=True)
    paths = [tmp_path / f"{name}.o" for name, _ in objects]
    subprocess.run([compiler.path, *options, *paths, "-o", tmp_path / "program"], check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "all agree"
