"""Augmented images/s of the loader alone: flip and crop, float32 in N,H,W,C order out, without a network.

A pass cuts every batch of an epoch from the store of CIFAR-10, augments it and normalises it, draws and order
of the epoch included. What each part takes of a batch is timed by itself afterwards:

    python benchmarks/loader_alone.py [--batches 500 128] [--rounds 9] [--threads 2] [--device cpu]
        [--note TEXT] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resident_batch import commit
from torch import Tensor

from pictorch.datasets import ImageSet, load_splits
from pictorch.datasets.augment import augment, draw
from pictorch.datasets.batches import TrainingBatches, channel_statistics
from pictorch.host import load_share
from pictorch.images import InputSpec
from pictorch.networks.classifier import Normalization
from pictorch.randomness import Purpose, permutation
from pictorch.recipe import AugmentSection, DataSection, TrainSection
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime

ASKED = {"cpu": 150_000, "cuda": 2_000_000}
FIELDS: dict[str, Any] = {"flip": "random", "crop_padding": 4}


def wait(device: torch.device) -> None:
    """Waits for what the device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def one_epoch(
    batches: TrainingBatches, normalization: Normalization, epoch: int, device: torch.device
) -> float:
    """Returns the images/s of an epoch."""
    start = time.perf_counter()
    for step in range(batches.steps_per_epoch):
        normalization(batches.batch(epoch, step)[0])
    wait(device)
    return batches.steps_per_epoch * batches.batch_size / (time.perf_counter() - start)


def parts(
    train: ImageSet, size: int, section: AugmentSection, normalization: Normalization, color: Tensor
) -> dict[str, float]:
    """Returns the microseconds an image that each part of a batch takes, median of 30; of the plan, once."""
    device, side = color.device, int(train.images.shape[1])
    store = train.images if device.type == "cpu" else torch.from_numpy(train.images).to(device)
    rows = train.indices[permutation(0, Purpose.ORDER, len(train), 0)]
    start = time.perf_counter()
    draws = draw(section, side, seed=0, epoch=0, samples=rows, device=device)
    found = {"draws of the epoch": round(1e6 * (time.perf_counter() - start) / len(rows), 3)}
    first, draws = rows[:size], draws.rows(slice(0, size))

    def cut() -> Tensor:
        if isinstance(store, Tensor):
            return store.index_select(0, torch.from_numpy(first).to(device))
        return torch.from_numpy(np.take(store, first, axis=0))

    images = cut()
    changed = augment(images, draws, section, color)
    works: dict[str, Callable[[], object]] = {
        "cut from the store": cut,
        "flip and crop": lambda: augment(images, draws, section, color),
        "normalise": lambda: normalization(changed),
    }
    for name, work in works.items():
        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            work()
            wait(device)
            seconds.append(time.perf_counter() - start)
        found[name] = round(1e6 * statistics.median(seconds) / size, 3)
    return found


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the images/s of every round for each batch size, and what the parts take."""
    runtime = resolve_runtime(
        TrainSection(epochs=1, device=args.device, threads=args.threads, precision="float32")
    )
    device = runtime.device
    train: ImageSet = load_splits(DataSection(source="cifar10", val_fraction=0)).train
    mean, std = channel_statistics(train)
    side = int(train.images.shape[1])
    normalization = Normalization(InputSpec(side, side).image_size)
    normalization.fill(mean, std)
    normalization.to(device)
    section = AugmentSection.model_validate(FIELDS)
    mean_color = np.rint(np.array(mean) * 255).astype(np.uint8)
    color = torch.from_numpy(mean_color).to(device)
    values: dict[str, Any] = {}
    with runtime.applied(), torch.inference_mode():
        for size in args.batches:
            batches = TrainingBatches(
                train,
                section,
                seed=0,
                batch_size=size,
                num_classes=10,
                mean_color=mean_color,
                device=device,
            )
            one_epoch(batches, normalization, 0, device)
            rates = [one_epoch(batches, normalization, 1 + turn, device) for turn in range(args.rounds)]
            values[str(size)] = {
                "images_per_second": [round(rate) for rate in rates],
                "median": round(statistics.median(rates)),
                "microseconds_an_image": parts(train, size, section, normalization, color),
            }
            print(size, values[str(size)], flush=True)
    return {
        "question": "augmented images/s of the loader alone: flip and crop, float32 in N,H,W,C order",
        "command": " ".join(["python benchmarks/loader_alone.py", *sys.argv[1:]]),
        "commit": commit(),
        "environment": describe_environment(runtime),
        "n": args.rounds,
        "asked": ASKED.get(device.type),
        "values": values,
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[500, 128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = round(load_share(), 2)
    record = {**compare(args), "load_before": load, "note": args.note}
    for size, found in record["values"].items():
        print(f"batches of {size}: {found['median']:,} images/s, asked: {record['asked']:,}")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
