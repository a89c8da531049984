"""The compiled kernels, loaded: operations on tensors, which prove themselves before they are given out."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pictorch.kernels.building import (
    Unavailable,
    build,
    build_of,
    built_path,
    find_compiler,
    is_built,
    packaged_path,
    present_paths,
)

# What a kernel may differ by from float64, as a share of the largest value: F(4x4, 3x3) in float32 has 1e-6.
TOLERANCE = 1e-4
# (images, height, width, inputs, outputs): part tiles, part vectors, several chunks, one pixel.
_PROVED_SHAPES = ((2, 9, 7, 5, 33), (1, 1, 1, 1, 1), (3, 16, 16, 40, 24))
_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


@dataclass(frozen=True)
class Kernels:
    """3x3 convolution with stride 1 and padding 1 of float32 maps in channels-last order, on the CPU.

    The method is that of A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2015.
    Given tensors are not checked; `operator` does.
    """

    path: Path
    instruction_set: str
    number: int
    library: Any
    build: str

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Returns the output (N, O, H, W) for x (N, C, H, W), weight (O, C, 3, 3) and bias (O) or None."""
        y = _empty_map(x, weight.shape[0], *x.shape[2:])
        self._forward(x, weight, bias, y, None)
        return y

    def forward_pool2(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the output, max-pooled 2x2, and which pixels it was: (N, O, H/2, W/2), float32 and uint8.

        The pixels of a window have the numbers 0 to 3, row by row. A last odd row or column is left out.
        """
        y = _empty_map(x, weight.shape[0], x.shape[2] // 2, x.shape[3] // 2)
        which = torch.empty_like(y, dtype=torch.uint8)
        self._forward(x, weight, bias, y, which)
        return y, which

    def input_gradient(
        self,
        gradient: Tensor,
        weight: Tensor,
        which: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Returns the gradient of x (N, C, H, W) from that of the output (N, O, H, W).

        After pooling, `which` says which pixels the output was, and `size` is (H, W).
        """
        gradient = _channels_last(gradient)
        of_x = _empty_map(gradient, weight.shape[1], *(size or gradient.shape[2:]))
        sizes = _sizes(of_x, weight.shape[0], which)
        self.library.pictorch_input_gradient(
            self.number,
            sizes,
            gradient.data_ptr(),
            None if which is None else (which := _channels_last(which)).data_ptr(),
            weight.data_ptr(),
            _steps(weight),
            of_x.data_ptr(),
            (memory := self._memory(sizes)).data_ptr(),
            torch.get_num_threads(),
        )
        del memory
        return of_x

    def weight_gradient(
        self, x: Tensor, gradient: Tensor, weight: Tensor, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the gradients of weight, in its order of memory, and of bias.

        After pooling, `which` says which pixels the output was.
        """
        x, gradient = _channels_last(x), _channels_last(gradient)
        sizes = _sizes(x, gradient.shape[1], which)
        of_weight, of_bias = torch.empty_like(weight), gradient.new_empty(gradient.shape[1])
        self.library.pictorch_weight_gradient(
            self.number,
            sizes,
            x.data_ptr(),
            gradient.data_ptr(),
            None if which is None else (which := _channels_last(which)).data_ptr(),
            of_weight.data_ptr(),
            _steps(of_weight),
            of_bias.data_ptr(),
            (memory := self._memory(sizes)).data_ptr(),
            torch.get_num_threads(),
        )
        del memory
        return of_weight, of_bias

    def _forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, which: Tensor | None
    ) -> None:
        x, bias = _channels_last(x), None if bias is None else bias.contiguous()
        sizes = _sizes(x, weight.shape[0], which)
        self.library.pictorch_forward(
            self.number,
            sizes,
            x.data_ptr(),
            weight.data_ptr(),
            _steps(weight),
            None if bias is None else bias.data_ptr(),
            y.data_ptr(),
            None if which is None else which.data_ptr(),
            (memory := self._memory(sizes)).data_ptr(),
            torch.get_num_threads(),
        )
        del memory

    def _memory(self, sizes: Any) -> Tensor:
        floats = self.library.pictorch_memory(self.number, sizes, torch.get_num_threads())
        return torch.empty(floats, dtype=torch.float32, device="cpu")


def open_kernels(
    *,
    may_build: bool,
    instruction_set: str | None = None,
    wanted: str | None = None,
    before_building: Callable[[], object] = lambda: None,
) -> Kernels | Unavailable:
    """Returns the kernels for this processor, or why there are none: the wheel's, else the machine's own.

    `may_build` compiles them where that was not done yet, in less than a minute, after `before_building`.
    `instruction_set` asks for another form than the best: avx512, avx2 or generic. `wanted` is the build
    that is taken where it can be had.
    """
    refusals = []
    for library in _libraries(may_build, wanted, before_building):
        opened = load(library, instruction_set) if isinstance(library, Path) else library
        if isinstance(opened, Kernels):
            return opened
        refusals.append(opened.reason)
    return Unavailable("; ".join(refusals))


def _libraries(
    may_build: bool, wanted: str | None, before_building: Callable[[], object]
) -> Iterator[Path | Unavailable]:
    """Yields the libraries to try, one after the other; what needs the compiler when its turn comes."""
    present, wheels = present_paths(), packaged_path()
    at_once = [one for one in present if (one == wheels if wanted is None else build_of(one) == wanted)]
    yield from at_once
    compiled = _compiled(may_build, before_building)
    is_wanted = wanted is None or (isinstance(compiled, Path) and build_of(compiled) == wanted)
    rest = [compiled, *present] if is_wanted or wheels not in present else [wheels, compiled, *present]
    yield from (one for one in dict.fromkeys(rest) if one not in at_once)


def _compiled(may_build: bool, before_building: Callable[[], object]) -> Path | Unavailable:
    compiler = find_compiler()
    if isinstance(compiler, Unavailable):
        return compiler
    path = built_path(compiler)
    if is_built(path):
        return path
    if not may_build:
        return Unavailable("they are not built yet")
    before_building()
    return build(compiler)


def load(path: Path, instruction_set: str | None = None) -> Kernels | Unavailable:
    """Returns the kernels of a compiled library after comparing their results with torch's."""
    try:
        library, bits = ctypes.CDLL(str(path)), build_of(path)
        _declare(library)
    except (OSError, AttributeError) as error:
        return Unavailable(f"{path} cannot be loaded ({error})")
    for number, name in enumerate(_names(library)):
        if library.pictorch_form_runs(number) and instruction_set in (None, name):
            kernels = Kernels(path, name, number, library, bits)
            differences = [one for shape in _PROVED_SHAPES for one in _differences(kernels, *shape)]
            if all(one <= TOLERANCE for one in differences):  # NaN is not
                return kernels
            return Unavailable(f"the {name} kernels compute wrongly here (differences {differences})")
    return Unavailable(f"this processor cannot run the {instruction_set} kernels")


def _declare(library: Any) -> None:
    pointer, sizes = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)
    head, tail = [ctypes.c_int, sizes], [pointer, ctypes.c_int]
    library.pictorch_form_name.argtypes, library.pictorch_form_name.restype = [ctypes.c_int], ctypes.c_char_p
    library.pictorch_form_runs.argtypes = [ctypes.c_int]
    library.pictorch_memory.argtypes = [ctypes.c_int, sizes, ctypes.c_int]
    library.pictorch_memory.restype = ctypes.c_int64
    for function, middle in (
        (library.pictorch_forward, [pointer, pointer, sizes, *[pointer] * 3]),
        (library.pictorch_input_gradient, [*[pointer] * 3, sizes, pointer]),
        (library.pictorch_weight_gradient, [*[pointer] * 4, sizes, pointer]),
    ):
        function.argtypes, function.restype = [*head, *middle, *tail], None
    process = ctypes.CDLL(None)
    found = [getattr(process, name, None) for name in _OPENMP]
    if all(found):
        library.pictorch_use_openmp(*found)


def _names(library: Any) -> Iterator[str]:
    number = 0
    while (name := library.pictorch_form_name(number)) is not None:
        yield name.decode()
        number += 1


def _differences(
    kernels: Kernels, images: int, height: int, width: int, inputs: int, outputs: int
) -> list[float]:
    """Returns how far each result is from torch's in float64 at most, as a share of the largest value."""
    draw = torch.Generator("cpu").manual_seed(0)
    sizes = [
        (images, inputs, height, width),
        (images, outputs, height, width),
        (outputs, inputs, 3, 3),
        (outputs,),
    ]
    # Said, since a program may have chosen another default type and device.
    given = (torch.randn(size, generator=draw, dtype=torch.float32, device="cpu") for size in sizes)
    x, gradient, weight, bias = given
    mine = [kernels.forward(x, weight, bias), kernels.input_gradient(gradient, weight)]
    mine += kernels.weight_gradient(x, gradient, weight)
    exact = [one.double().requires_grad_() for one in (x, weight, bias)]
    with torch.enable_grad():
        y = F.conv2d(exact[0], exact[1], exact[2], padding=1)
    right = [y.detach(), *torch.autograd.grad(y, exact, gradient.double(), retain_graph=True)]
    if min(height, width) > 1:
        with torch.enable_grad():
            pooled = F.max_pool2d(y, 2)
        gradient = gradient[:, :, : height // 2, : width // 2]
        small, which = kernels.forward_pool2(x, weight, bias)
        mine += [small, kernels.input_gradient(gradient, weight, which, (height, width))]
        mine += kernels.weight_gradient(x, gradient, weight, which)
        right += [pooled.detach(), *torch.autograd.grad(pooled, exact, gradient.double())]
    return [float((m - r).abs().max() / r.abs().max()) for m, r in zip(mine, right, strict=True)]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _empty_map(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = (like.shape[0], channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _sizes(x: Tensor, outputs: int, which: Tensor | None) -> Any:
    images, inputs, height, width = x.shape
    return (ctypes.c_int64 * 6)(images, height, width, inputs, outputs, which is not None)


def _steps(weight: Tensor) -> Any:
    return (ctypes.c_int64 * 4)(*weight.stride())
