"""The kernels against direct convolution in float64, in every form that this processor can run."""

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
    exact_x, exact_w, exact_g = x.double(), weight.double(), gradient.double()
    y = kernels.forward(x.contiguous(memory_format=order), weight, bias)
    of_x = kernels.input_gradient(gradient.contiguous(memory_format=order), weight)
    of_weight, of_bias = kernels.weight_gradient(x, gradient, weight)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert of_weight.stride() == weight.stride()
    for mine, right, squares in (
        (
            y,
            F.conv2d(exact_x, exact_w, bias.double(), padding=1),
            F.conv2d(exact_x**2, exact_w**2, bias.double() ** 2, padding=1),
        ),
        (
            of_x,
            conv2d_input(x.shape, exact_w, exact_g, padding=1),
            conv2d_input(x.shape, exact_w**2, exact_g**2, padding=1),
        ),
        (
            of_weight,
            conv2d_weight(exact_x, weight.shape, exact_g, padding=1),
            conv2d_weight(exact_x**2, weight.shape, exact_g**2, padding=1),
        ),
        (of_bias, exact_g.sum((0, 2, 3)), (exact_g**2).sum((0, 2, 3))),
    ):
        assert mine.shape == right.shape
        assert difference(mine, right, squares) <= TOLERANCE


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


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1),
        (1, 1, 1, 513, 513),
        (1, 33, 2, 3, 64),
        (72, 31, 31, 24, 64),  # many chunks, an output that no cache holds
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


def test_the_same_bits_every_time(kernels: Kernels) -> None:
    draw = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(30, n, 15, 15, generator=draw) for n in (48, 64))
    weight = torch.randn(64, 48, 3, 3, generator=draw)

    def results() -> list[Tensor]:
        of_weight, of_bias = kernels.weight_gradient(x, gradient, weight)
        return [
            kernels.forward(x, weight, None),
            kernels.input_gradient(gradient, weight),
            of_weight,
            of_bias,
        ]

    first = results()
    for _ in range(5):
        assert all(torch.equal(one, other) for one, other in zip(first, results(), strict=True))


def test_kernels_that_compute_wrongly_are_refused(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "TOLERANCE", 1e-12)
    refused = load(kernels.path)
    assert isinstance(refused, Unavailable)
    assert refused.reason.startswith(
        f"the {kernels.instruction_set} kernels compute wrongly here (difference"
    )


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
