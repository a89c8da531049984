"""CIFAR-10 from pictorch's store, in the form that airbench and its descendants read: train.pt and test.pt.

python benchmarks/peer_data.py FOLDER [--data cifar10]
"""

import argparse
from pathlib import Path

import torch

from pictorch.datasets import load_splits
from pictorch.randomness import Purpose, permutation
from pictorch.recipe import DataSection


def write_tensors(data: str, folder: Path) -> None:
    """Writes all training and all test images, each in an order that is drawn: classes are mixed."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = load_splits(DataSection(source=data, val_fraction=0))
    assert splits.test is not None
    for name, part in {"train": splits.train, "test": splits.test}.items():
        rows = part.indices[permutation(0, Purpose.SAMPLES, len(part))]
        tensors = {
            "images": torch.from_numpy(part.images[rows]),
            "labels": torch.from_numpy(part.labels[rows]),
            "classes": list(splits.class_names),
        }
        torch.save(tensors, folder / f"{name}.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="cifar10")
    args = parser.parse_args()
    write_tensors(args.data, args.folder)
