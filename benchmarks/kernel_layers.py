"""Own 3x3 convolutions against torch's, layer by layer, forward and both gradients.

The layers are those of a network that `conv3x3` can stand for, each different one once; where the network
lets `conv3x3_pool2` do the max-pooling too, pooling counts for both sides, in torch's weight gradient that of
the gradient. Own kernels, torch's
in float32 and torch's in bf16 take turns in one process, with the threads and memory settings of training; a
time is the median of the rounds. `products` is what the 36 small products of the own kernels alone compute,
by the seconds of the whole operation, transforms included, as a share of a large matrix product here:

    python benchmarks/kernel_layers.py --networks speednet:32:500 speednet:20:500 resnet18:32:128
        [--rounds 5] [--without-bf16] [--note TEXT] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from resident_batch import commit
from torch import Tensor, nn

from pictorch.host import cpu_name, keep_freed_memory, load_share, physical_cores
from pictorch.images import InputSpec
from pictorch.kernels.building import Unavailable
from pictorch.kernels.layers import Conv3x3, suitable_layers
from pictorch.kernels.library import Kernels, open_kernels
from pictorch.networks.zoo import build_network
from pictorch.recipe.sections import ModelSection

Work = Callable[[], object]


class Layer(NamedTuple):
    """The sizes of a convolution, and whether it is the network's first, whose input needs no gradient."""

    batch: int
    height: int
    width: int
    inputs: int
    outputs: int
    bias: bool
    first: bool
    pooled: bool


def layers_of(name: str, image_size: int, batch: int) -> Counter[Layer]:
    """Returns each different 3x3 convolution of a network, and how often it is there."""
    found: Counter[Layer] = Counter()
    network = build_network(ModelSection(name=name), 10, InputSpec(image_size, image_size)).train()

    class Noted(Conv3x3):
        def note(self, x: Tensor, *, pooled: bool) -> Tensor:
            _, channels, height, width = x.shape
            sizes = (batch, height, width, channels, self.out_channels)
            found[Layer(*sizes, self.bias is not None, channels == 3, pooled)] += 1
            return nn.Conv2d.forward(self, x)

        def forward(self, x: Tensor) -> Tensor:
            return self.note(x, pooled=False)

        def forward_pool2(self, x: Tensor) -> Tensor:
            return F.max_pool2d(self.note(x, pooled=True), 2)

    for layer in suitable_layers(network).values():
        layer.__class__ = Noted
    with torch.no_grad():
        network(torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8))
    return found


def operations(kernels: Kernels, layer: Layer, *, with_bf16: bool) -> Iterator[tuple[str, dict[str, Work]]]:
    """Yields each operation of a layer with what is to be timed: own, torch's, torch's in bf16."""
    order, ones, zeros = torch.channels_last, [1, 1], [0, 0]
    size = (layer.batch, layer.inputs, layer.height, layer.width)
    x = torch.randn(size).contiguous(memory_format=order)
    weight = torch.randn(layer.outputs, layer.inputs, 3, 3).contiguous(memory_format=order)
    bias = torch.randn(layer.outputs) if layer.bias else None
    which = kernels.forward_pool2(x, weight, bias)[1] if layer.pooled else None
    shape = (layer.batch, layer.outputs, *size[2:]) if which is None else which.shape
    gradient = torch.randn(shape).contiguous(memory_format=order)

    def forward(dtype: torch.dtype) -> Work:
        given = [x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)]
        return lambda: pooled(torch.convolution(*given, ones, ones, ones, False, zeros, 1))

    def pooled(y: Tensor) -> object:
        return torch.ops.aten.max_pool2d_with_indices(y, [2, 2]) if layer.pooled else y

    def backward(dtype: torch.dtype, wanted: list[bool]) -> Work:
        given, sizes = [x.to(dtype), weight.to(dtype)], [layer.outputs] if layer.bias else None
        small = gradient.to(dtype)
        y = torch.convolution(*given, None, ones, ones, ones, False, zeros, 1)
        places = torch.ops.aten.max_pool2d_with_indices(y, [2, 2])[1] if layer.pooled else None

        def whole() -> Tensor:
            if places is None:
                return small
            window = ([2, 2], [2, 2], zeros, ones, False)
            return torch.ops.aten.max_pool2d_with_indices_backward(small, y, *window, places)

        made = None if wanted[1] else whole()
        return lambda: torch.ops.aten.convolution_backward(
            whole() if made is None else made, *given, sizes, ones, ones, ones, False, zeros, 1, wanted
        )

    def library(make: Callable[[torch.dtype], Work]) -> dict[str, Work]:
        bf16 = {"library_bf16": make(torch.bfloat16)} if with_bf16 else {}
        return {"library": make(torch.float32), **bf16}

    own_forward = kernels.forward_pool2 if layer.pooled else kernels.forward
    yield "forward", {"own": lambda: own_forward(x, weight, bias), **library(forward)}
    if not layer.first:
        theirs = library(lambda dtype: backward(dtype, [True, False, False]))
        yield (
            "input gradient",
            {
                "own": lambda: kernels.input_gradient(gradient, weight, which, (layer.height, layer.width)),
                **theirs,
            },
        )
    theirs = library(lambda dtype: backward(dtype, [False, True, layer.bias]))
    yield "weight gradient", {"own": lambda: kernels.weight_gradient(x, gradient, weight, which), **theirs}


def seconds_of(work: Work) -> float:
    """Returns the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_gflops() -> float:
    """Returns the rate of a large matrix product in float32, the best of several."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / min(seconds_of(lambda: torch.mm(a, b)) for _ in range(6)) / 1e9


def measure(kernels: Kernels, layer: Layer, rounds: int, *, with_bf16: bool) -> dict[str, Any]:
    """Returns microseconds an image of each operation, and the library's times by the own ones."""
    sides = [side // 2 * 2 if layer.pooled else side for side in (layer.height, layer.width)]
    tiles = layer.batch * -(-sides[0] // 4) * -(-sides[1] // 4)
    product_gflop = 2 * 36 * tiles * layer.inputs * layer.outputs / 1e9
    peak, record = peak_gflops(), {}
    for name, works in operations(kernels, layer, with_bf16=with_bf16):
        for work in [*works.values()] * 3:  # until the heap has a place for everything
            work()
        times: dict[str, list[float]] = {form: [] for form in works}
        for _ in range(rounds):
            for form, work in works.items():
                times[form].append(seconds_of(work))
        median = {form: statistics.median(values) for form, values in times.items()}
        record[name] = {
            "us_an_image": {form: value / layer.batch * 1e6 for form, value in median.items()},
            **{f"times_{form}": value / median["own"] for form, value in median.items() if form != "own"},
            "products_share_of_peak": product_gflop / median["own"] / peak,
        }
    return {**layer._asdict(), "peak_gflops": peak, "operations": record}


def line_of(times: int, record: dict[str, Any]) -> str:
    """Returns a layer's row of the table."""
    cells = [
        f"{times} x {record['inputs']:3d} -> {record['outputs']:3d} @ {record['height']:2d}"
        + " pooled" * record["pooled"]
    ]
    for name, one in record["operations"].items():
        us = " ".join(f"{value:6.1f}" for value in one["us_an_image"].values())
        times = " ".join(f"{value:.2f}x" for key, value in one.items() if key.startswith("times_"))
        cells.append(f"{name} {us} us {times} {one['products_share_of_peak']:.0%}")
    return " | ".join(cells)


def total(layers: list[dict[str, Any]], form: str) -> float:
    """Returns microseconds an image of all operations of all layers."""
    return sum(one["count"] * op["us_an_image"][form] for one in layers for op in one["operations"].values())


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["speednet:32:500"], help="NAME:IMAGE_SIZE:BATCH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-bf16", action="store_true", help="for CPUs that only emulate it")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = round(load_share(), 2)
    torch.set_num_threads(physical_cores())
    torch.set_flush_denormal(True)
    keep_freed_memory()
    kernels = open_kernels(may_build=True)
    if isinstance(kernels, Unavailable):
        sys.exit(f"no kernels: {kernels.reason}")
    values = []
    for given in args.networks:
        name, size, batch = given.split(":")
        print(
            f"{name} at {size} pixels, batches of {batch}: own, library, library in bf16 if asked", flush=True
        )
        layers: list[dict[str, Any]] = []
        for layer, count in layers_of(name, int(size), int(batch)).items():
            timed = measure(kernels, layer, args.rounds, with_bf16=not args.without_bf16)
            layers.append({"count": count, **timed})
            print(line_of(count, layers[-1]), flush=True)
        forms = layers[0]["operations"]["forward"]["us_an_image"]
        sums = {form: total(layers, form) for form in forms}
        print("  all:", "  ".join(f"{form} {us:,.0f} us" for form, us in sums.items()), flush=True)
        values.append({"network": name, "pixels": int(size), "layers": layers, "us_an_image": sums})
    record = {
        "question": "time of each 3x3 convolution, own kernels against the library's, on all cores",
        "command": " ".join(["python benchmarks/kernel_layers.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "instruction_set": kernels.instruction_set,
        "n": args.rounds,
        "load_before": load,
        "note": args.note,
        "values": values,
    }
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
