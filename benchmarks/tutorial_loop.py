"""The loop of the tutorials against ours: same network, batch size and machine, augmentation on, in one run.

The tutorials' loop is what their pages have in common: a DataLoader over torchvision's CIFAR10 (here a
dataset that does the same for an item: its array as a PIL image, then the transforms), RandomCrop,
RandomHorizontalFlip, ToTensor and Normalize for each image, float32 in N,C,H,W, and loss.item() at each
step. Ours is the training loop with the same crop and flip, everything automatic but the precision; the
bare network is fed one resident batch. Rounds alternate, ratios are of one round:

    python benchmarks/tutorial_loop.py [NETWORK ...] [--rounds 7] [--seconds 4] [--workers 0]
        [--precision float32] [--device auto] [--note TEXT] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from resident_batch import bare_steps, commit, images_per_second, loop_steps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pictorch.datasets import ImageSet, Splits, load_splits
from pictorch.host import load_share
from pictorch.networks import build_network
from pictorch.recipe import Recipe
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import build_session
from pictorch.training.tracker import Tracker

# Each network: its recipe, the batch size and optimiser of its tutorial (128 and Adam where it shows none),
# and how often the tutorial's loop must be beaten on two cores.
NETWORKS: dict[str, tuple[str, int, str, float]] = {
    "simple_net": ("cifar10-simple-net", 128, "adam", 3.5),
    "lenet": ("cifar10-lenet", 64, "sgd", 3.5),
    "cifar10_cnn": ("cifar10-cnn", 128, "sgd", 1.7),
    "resnet18": ("cifar10-resnet18", 128, "sgd", 1.2),
}
PARAMETERS = {"adam": ["optimizer.lr=0.001"], "sgd": ["optimizer.lr=0.01", "optimizer.momentum=0.9"]}
# What the tutorials' loops have and have not.
SAME = [
    "loss.label_smoothing=0",
    "train.ema_decay=null",
    "optimizer.weight_decay=0",
    "schedule.name=constant",
]
AUGMENTED = ["augment.flip=random", "augment.crop_padding=4"]


class Cifar10(Dataset[tuple[Tensor, int]]):
    """Stands in for torchvision.datasets.CIFAR10: an item is transformed from a PIL image."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self._data = images.images[images.indices]
        self._targets = images.labels[images.indices].tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._data[index])), self._targets[index]


def tutorial_steps(
    recipe: Recipe, splits: Splits, optimizer: str, device: torch.device, workers: int
) -> Iterator[float]:
    """Yields the loss of one step of the tutorials' loop after the other, epoch after epoch."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ]
    )
    loader = DataLoader(
        Cifar10(splits.train, transform), recipe.train.batch_size, shuffle=True, num_workers=workers
    )
    network = build_network(recipe.model, len(splits.class_names), splits.input).network.to(device)
    criterion = nn.CrossEntropyLoss()
    step: torch.optim.Optimizer = (
        torch.optim.Adam(network.parameters(), lr=0.001)
        if optimizer == "adam"
        else torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    )
    network.train()
    while True:
        for images, labels in loader:
            step.zero_grad()
            loss = criterion(network(images.to(device)), labels.to(device))
            loss.backward()
            step.step()
            yield loss.item()


def tutorial_rate(steps: Iterator[float], batch_size: int, count: int) -> float:
    """Returns the images/s of so many steps."""
    start = time.perf_counter()
    for _ in range(count):
        next(steps)
    return count * batch_size / (time.perf_counter() - start)


def compare(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the three speeds of every round and their ratios, for one network."""
    recipe_name, batch_size, optimizer, asked = NETWORKS[name]
    changes = [f"train.batch_size={batch_size}", f"optimizer.name={optimizer}", *PARAMETERS[optimizer], *SAME]
    changes += [*AUGMENTED, f"train.device={args.device}", f"train.precision={args.precision}"]
    recipe = load_recipe(recipe_name, changes)
    runtime, splits = resolve_runtime(recipe.train), load_splits(recipe.data)
    theirs = tutorial_steps(recipe, splits, optimizer, runtime.device, args.workers)
    with ExitStack() as stack:
        session = build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)])
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tracker = stack.enter_context(Tracker(RunFolder(folder), session, Console("quiet")))
        session.network.train()

        def ours(work: Callable[..., None], count: int) -> float:
            with runtime.applied():
                return images_per_second(work, session, tracker, count)

        turns: dict[str, Callable[[int], float]] = {
            "tutorial": lambda count: tutorial_rate(theirs, batch_size, count),
            "loop": lambda count: ours(loop_steps, count),
            "bare": lambda count: ours(bare_steps, count),
        }
        torch.set_num_threads(runtime.threads)
        counts = {}
        for turn, rate in turns.items():
            rate(3)
            counts[turn] = max(3, round(args.seconds * rate(5) / batch_size))
        rounds = []
        for _ in range(args.rounds):
            found = {turn: rate(counts[turn]) for turn, rate in turns.items()}
            found["of_tutorial"] = found["loop"] / found["tutorial"]
            found["of_bare"] = found["loop"] / found["bare"]
            rounds.append(found)
            print(name, "  ".join(f"{key} {value:,.4g}" for key, value in found.items()), flush=True)
        environment = describe_environment(runtime)
    return {
        "network": name,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "asked_of_tutorial": asked,
        "n": args.rounds,
        "values": rounds,
        "median": {key: statistics.median(one[key] for one in rounds) for key in rounds[0]},
        "range": {
            key: [min(one[key] for one in rounds), max(one[key] for one in rounds)]
            for key in ("of_tutorial", "of_bare")
        },
        "environment": environment,
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = load_share()
    record = {
        "question": "images/s of our loop by those of the tutorials' loop, and by those of the bare network",
        "command": " ".join(["python benchmarks/tutorial_loop.py", *sys.argv[1:]]),
        "commit": commit(),
        "load_before": round(load, 2),
        "note": args.note,
        "values": [compare(name, args) for name in args.networks or NETWORKS],
    }
    for one in record["values"]:
        print(
            f"{one['network']}: {one['median']['of_tutorial']:.2f} times the tutorial's loop "
            f"({one['range']['of_tutorial'][0]:.2f} to {one['range']['of_tutorial'][1]:.2f}, asked "
            f"{one['asked_of_tutorial']}), {one['median']['of_bare']:.1%} of the bare network"
        )
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
