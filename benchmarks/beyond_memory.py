"""What the order of an epoch and cutting batches ahead are worth where no image is in memory yet.

Writes a store of noise into a temporary folder and reads an epoch of it, or its first batches, in every
way, in turn, in one process: random and block order, cut by the loop itself and ahead by a thread. All
pages leave the memory before each round, and again whenever `--memory` bytes were read since, which is
harder than a memory of that size: it would keep the window. Each way is timed alone, and with a step after
each batch that leaves the CPU alone, as a GPU's would. Nothing is augmented, since that is done where the
network is.

    python benchmarks/beyond_memory.py [--images 21000] [--side 256] [--rounds 5] [--step 0.032]
        [--orders random blocks] [--batches N] [--memory BYTES] [--out record.json]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from large_images import clocks, forget, read_bytes
from resident_batch import commit

from pictorch.datasets import ImageSet
from pictorch.datasets.batches import TrainingBatches
from pictorch.datasets.mapped import map_array
from pictorch.recipe import AugmentSection, TrainSection
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime

CLASSES = 10


def write_store(path: Path, count: int, side: int) -> None:
    """Writes an array of `count` images of noise, durably, since pages that are not written stay."""
    noise = np.random.default_rng(0).integers(0, 256, (512, side, side, 3), np.uint8)
    shape = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, shape)
        for start in range(0, count, len(noise)):
            file.write(noise[: count - start].data)
        file.flush()
        os.fsync(file.fileno())


def round_of(
    images: ImageSet, path: Path, order: str, ahead: bool, step_seconds: float, args: argparse.Namespace
) -> dict[str, Any]:
    """Returns the figures of an epoch, or its first batches, of which nothing is in memory."""
    batches = TrainingBatches(
        images,
        AugmentSection(),
        seed=0,
        batch_size=args.batch_size,
        num_classes=CLASSES,
        mean_color=np.zeros(3, np.uint8),
        device=torch.device("cpu"),
        order=order,
    )
    steps = min(batches.steps_per_epoch, args.batches or batches.steps_per_epoch)
    forget(images.images, path)
    waited, first_byte = 0.0, read_bytes()
    forgotten, began = first_byte, clocks()
    with batches.prefetched() if ahead else nullcontext():
        for step in range(steps):
            asked = time.perf_counter()
            batches.batch(0, step)
            waited += time.perf_counter() - asked
            time.sleep(step_seconds)
            if args.memory is not None and read_bytes() - forgotten > args.memory:
                forget(images.images, path)
                forgotten = read_bytes()
    seconds, computed = (clocks() - began).tolist()
    count = steps * args.batch_size
    return {
        "order": order,
        "ahead": ahead,
        "step_seconds": step_seconds,
        "images_per_second": count / seconds,
        "waited_share": waited / seconds,
        "cpu_seconds_per_1000_images": 1000 * computed / count,
        "read_bytes_per_used_byte": (read_bytes() - first_byte) / count / images.images[0].nbytes,
    }


def rounds_of(images: ImageSet, path: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of each way, round after round, every other one backwards."""
    ways = list(product((0.0, args.step) if args.step else (0.0,), args.orders, (False, True)))
    for number in range(args.rounds):
        for step_seconds, order, ahead in ways if number % 2 == 0 else reversed(ways):
            yield round_of(images, path, order, ahead, step_seconds, args)


def medians(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each way the median of each figure, and the range of the images a second."""
    found = []
    names = ("step_seconds", "order", "ahead")
    for way in dict.fromkeys(tuple(value[name] for name in names) for value in values):
        mine = [value for value in values if tuple(value[name] for name in names) == way]
        figures = {key: [value[key] for value in mine] for key in mine[0] if key not in names}
        middle = {f"median_{key}": statistics.median(each) for key, each in figures.items()}
        speeds = figures["images_per_second"]
        found.append(dict(zip(names, way, strict=True)) | middle | {"range": [min(speeds), max(speeds)]})
    return found


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=21_000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--step", type=float, default=0.032, help="seconds: 64 images at 2,000 a second")
    parser.add_argument("--orders", nargs="+", choices=("random", "blocks"), default=["random", "blocks"])
    parser.add_argument("--batches", type=int, help="of an epoch (default: all)")
    parser.add_argument("--memory", type=int, help="bytes that are read until all are forgotten")
    parser.add_argument("--folder", type=Path, help="where the store is written for the time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    values = []
    with tempfile.TemporaryDirectory(prefix="beyond-memory-", dir=args.folder) as home:
        path = Path(home) / "images.npy"
        write_store(path, args.images, args.side)
        rows = np.arange(args.images)
        images = ImageSet(map_array(path), rows * CLASSES // args.images, rows)
        for value in rounds_of(images, path, args):
            values.append(value)
            print({name: round(each, 3) if isinstance(each, float) else each for name, each in value.items()})
    record = {
        "question": "images/s, waiting and reading of an epoch of images, none of them in memory before, in "
        "random and in block order, cut by the loop and ahead by a thread",
        "command": " ".join(["python benchmarks/beyond_memory.py", *without_folder(sys.argv[1:])]),
        "commit": commit(),
        "images": args.images,
        "side": args.side,
        "store_bytes": 3 * args.images * args.side**2,
        "batch_size": args.batch_size,
        "n": args.rounds,
        "load": os.getloadavg(),
        "environment": describe_environment(resolve_runtime(TrainSection(epochs=1))),
        "medians": medians(values),
        "values": values,
    }
    for way in record["medians"]:
        print(way)
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


def without_folder(arguments: list[str]) -> list[str]:
    """Returns the arguments of a record, which names no place of a machine."""
    kept, skips = [], False
    for argument in arguments:
        if not skips and argument not in ("--folder", "--out"):
            kept.append(argument)
        skips = argument in ("--folder", "--out")
    return kept


if __name__ == "__main__":
    main()
