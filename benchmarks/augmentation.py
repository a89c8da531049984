"""Images/s of every augmentation on batches of 32-px images, beside torchvision's transforms of each image.

Ours cuts batches of 128 from the store of CIFAR-10, draws included; torchvision's v2 transforms change the
same images one by one, as a loader's worker does, and stack them (MixUp and CutMix: whole batches). Both
run on one thread, in turn, round by round; ratios are of one round:

    python benchmarks/augmentation.py [--batches 10] [--rounds 7] [--out record.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from pictorch.datasets import ImageSet, load_splits
from pictorch.datasets.batches import TrainingBatches, channel_statistics
from pictorch.recipe import AugmentSection
from pictorch.recipe.files import load_recipe
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime

BILINEAR = InterpolationMode.BILINEAR
BATCH_SIZE = 128
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CROP_AND_FLIP = [v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
COMPARED: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "crop_padding, flip": ({"crop_padding": 4, "flip": "random"}, v2.Compose(CROP_AND_FLIP)),
    "resized_crop": ({"resized_crop": 0.3}, v2.RandomResizedCrop(32, scale=(0.3, 1.0))),
    "rotation": ({"rotation": 15}, v2.RandomRotation(15, BILINEAR)),
    **{name: ({name: value}, v2.ColorJitter(**{name: value})) for name, value in JITTER.items()},
    "all four": (JITTER, v2.ColorJitter(**JITTER)),
    "trivial_augment": ({"policy": "trivial_augment"}, v2.TrivialAugmentWide(interpolation=BILINEAR)),
    "rand_augment": ({"policy": "rand_augment"}, v2.RandAugment(interpolation=BILINEAR)),
    "erasing": ({"erasing": 0.5}, v2.RandomErasing(0.5)),
}
MIXED = {
    "mixup": ({"mixup": 0.2}, v2.MixUp(alpha=0.2, num_classes=10)),
    "cutmix": ({"cutmix": 1.0}, v2.CutMix(alpha=1.0, num_classes=10)),
}
Pass = Callable[[int], None]


def our_pass(images: ImageSet, fields: dict[str, Any]) -> Pass:
    """Returns a function that makes all batches of an epoch with the given fields on."""
    mean, _ = channel_statistics(images)
    batches = TrainingBatches(
        images,
        AugmentSection.model_validate(fields),
        seed=0,
        batch_size=BATCH_SIZE,
        num_classes=10,
        mean_color=np.rint(np.array(mean) * 255).astype(np.uint8),
        device=torch.device("cpu"),
    )

    def run(epoch: int) -> None:
        for step in range(batches.steps_per_epoch):
            batches.batch(epoch, step)

    return run


def their_pass(nchw: Tensor, transform: Callable[[Any], Any]) -> Pass:
    """Returns a function that changes every image by itself and stacks them in batches."""

    def run(_: int) -> None:
        for start in range(0, len(nchw), BATCH_SIZE):
            torch.stack([transform(image) for image in nchw[start : start + BATCH_SIZE]])

    return run


def their_mixing_pass(nchw: Tensor, labels: Tensor, transform: Callable[[Any, Any], Any]) -> Pass:
    """Returns a function that stacks batches and mixes them as float32, as MixUp needs it."""

    def run(_: int) -> None:
        for start in range(0, len(nchw), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            transform(torch.stack(list(nchw[rows])).float(), labels[rows])

    return run


def images_per_second(run: Pass, count: int, epoch: int) -> float:
    """Returns the speed of one pass over `count` images."""
    start = time.perf_counter()
    run(epoch)
    return count / (time.perf_counter() - start)


def compare(batches: int, rounds: int) -> dict[str, Any]:
    """Returns both speeds of every field in every round, and the median ratio."""
    recipe = load_recipe("cifar10-cnn", ["train.threads=1"])
    runtime = resolve_runtime(recipe.train)
    train = load_splits(recipe.data).train
    images = ImageSet(train.images, train.labels, train.indices[: batches * BATCH_SIZE])
    nchw = torch.from_numpy(images.images[images.indices]).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(images.labels[images.indices])
    passes = {
        name: (our_pass(images, fields), their_pass(nchw, peer)) for name, (fields, peer) in COMPARED.items()
    }
    for name, (fields, mix) in MIXED.items():
        passes[name] = (our_pass(images, fields), their_mixing_pass(nchw, labels, mix))
    speeds: dict[str, list[dict[str, float]]] = {name: [] for name in passes}
    with runtime.applied():
        for turn in range(rounds + 1):
            for name, (ours, theirs) in passes.items():
                pair = [images_per_second(each, len(images), turn) for each in (ours, theirs)]
                if turn:  # the first round warms up
                    speeds[name].append(
                        {"pictorch": pair[0], "torchvision": pair[1], "ratio": pair[0] / pair[1]}
                    )
            print(f"round {turn} of {rounds}", flush=True)
    return {
        "question": "images/s of each augmentation on one thread, and how many times torchvision's that is",
        "command": " ".join(["python benchmarks/augmentation.py", *sys.argv[1:]]),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "environment": describe_environment(runtime),
        "batch_size": BATCH_SIZE,
        "images": len(images),
        "n": rounds,
        "values": speeds,
        "median": {
            name: {key: statistics.median(value[key] for value in values) for key in values[0]}
            for name, values in speeds.items()
        },
        "range_of_ratios": {
            name: [min(value["ratio"] for value in values), max(value["ratio"] for value in values)]
            for name, values in speeds.items()
        },
    }


def main() -> None:
    """Reads the arguments, measures, prints a table, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--note", help="what else ran on the machine")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = compare(args.batches, args.rounds) | ({"note": args.note} if args.note else {})
    for name, median in record["median"].items():
        low, high = record["range_of_ratios"][name]
        print(
            f"{name:20} {median['pictorch']:10,.0f} {median['torchvision']:10,.0f} images/s "
            f"  {median['ratio']:6.1f} times ({low:.1f} to {high:.1f})"
        )
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
