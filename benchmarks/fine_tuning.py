"""What fine-tuning gains where images are few: five classes of CIFAR-10 help to learn the other five.

A network is trained on all images of five classes. For each seed, 50 images of each of the other five are
drawn; one network starts from those weights, others from none, with the best of several settings by
validation accuracy (50 more images of each class). Both are judged on the 5,000 test images of their five
classes. What is already in the folder is used, so the measurement may be stopped and repeated:

    python benchmarks/fine_tuning.py --folder DIR [--recipe cifar10-cnn] [--seeds 0 1 2]
        [--out record.json]
"""

import argparse
import json
import shlex
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from resident_batch import commit

import pictorch
from pictorch.datasets import load_splits
from pictorch.datasets.splits import ImageSet
from pictorch.metrics.interval import mean_interval
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder

SOURCE_CLASSES = ("airplane", "automobile", "bird", "cat", "deer")
IMAGES, PRETRAINING_EPOCHS = 50, 15
COMMON = ["train.threads=1", "train.batch_size=50", "train.ema_decay=0.99", "augment.flip=random"]
FINE_TUNING = [
    "model.head_weights=new",
    "train.epochs=60",
    "train.freeze=[backbone]",
    "train.unfreeze_epoch=10",
    "optimizer.lr=0.02",
    "optimizer.backbone_lr_factor=0.2",
]
# The baseline has more epochs, and the best of these on validation.
SCRATCH = {
    "lr 0.05": ["train.epochs=100", "optimizer.lr=0.05"],
    "lr 0.02, cutout": ["train.epochs=100", "optimizer.lr=0.02", "augment.cutout=8"],
    "lr 0.02, longer": ["train.epochs=200", "optimizer.lr=0.02"],
}


def write_folders(folder: Path, seeds: list[int]) -> None:
    """Writes `base` (every image of the five source classes) and, for each seed, the few of the others."""
    splits = load_splits(load_recipe("cifar10-cnn", ["data.val_fraction=0"]).data)
    assert splits.test is not None
    for label, name in enumerate(splits.class_names):
        train, test = (_of_class(part, label) for part in (splits.train, splits.test))
        if name in SOURCE_CLASSES:
            _write(folder / "base", name, {"train": train, "test": test}, splits.train, splits.test)
            continue
        for seed in seeds:
            drawn = np.random.default_rng([seed, label]).permutation(train)
            parts = {"train": drawn[:IMAGES], "val": drawn[IMAGES : 2 * IMAGES], "test": test}
            _write(folder / f"few-{seed}", name, parts, splits.train, splits.test)


def _of_class(part: ImageSet, label: int) -> np.ndarray[Any, Any]:
    return part.indices[part.labels[part.indices] == label]


def _write(target: Path, name: str, parts: dict[str, Any], train: ImageSet, test: ImageSet) -> None:
    for part, rows in parts.items():
        (target / part / name).mkdir(parents=True, exist_ok=True)
        images = test.images if part == "test" else train.images
        for row in rows:
            Image.fromarray(images[row]).save(target / part / name / f"{row:05d}.png")


def trained(recipe: str, data: Path, out: Path, changes: list[str], seed: int = 0) -> RunFolder:
    """Returns a finished run, trained now where it is not there yet."""
    if not (out / "run.json").exists():
        pictorch.train(recipe, data=data, out=out, seed=seed, set=changes)
    elif RunFolder(out).facts()["finished_epoch"] is None:
        pictorch.train(resume=out)
    return RunFolder(out)


def best_val_accuracy(run: RunFolder) -> float:
    """Returns the accuracy by which a run's checkpoint was chosen."""
    return max(line["val_accuracy"] for line in run.epochs())


def test_accuracy(run: RunFolder) -> float:
    """Returns the accuracy on the 5,000 test images, opened at most once."""
    evaluation = run.evaluation("test") or pictorch.evaluate(run.path, split="test")
    assert evaluation.n == 5000
    return float(evaluation.accuracy)


def measure(recipe: str, folder: Path, seeds: list[int]) -> dict[str, Any]:
    """Returns the record: accuracies of both ways for every seed, their difference and its interval."""
    if not (folder / "written").exists():
        shutil.rmtree(folder / "base", ignore_errors=True)
        write_folders(folder, seeds)
        (folder / "written").touch()
    pretraining = ["train.threads=1", f"train.epochs={PRETRAINING_EPOCHS}"]
    base = trained(recipe, folder / "base", folder / "run-base", pretraining)
    scratch = {
        name: [
            trained(recipe, folder / f"few-{seed}", folder / f"run-{number}-{seed}", COMMON + changes, seed)
            for seed in seeds
        ]
        for number, (name, changes) in enumerate(SCRATCH.items())
    }
    chosen = max(scratch, key=lambda name: statistics.mean(map(best_val_accuracy, scratch[name])))
    tuning = [*COMMON, *FINE_TUNING, f"model.weights={base.path}"]
    tuned = [
        trained(recipe, folder / f"few-{seed}", folder / f"run-tuned-{seed}", tuning, seed) for seed in seeds
    ]
    values = [
        {"seed": seed, "fine_tuned": test_accuracy(one), "from_scratch": test_accuracy(other)}
        for seed, one, other in zip(seeds, tuned, scratch[chosen], strict=True)
    ]
    gains = [value["fine_tuned"] - value["from_scratch"] for value in values]
    return {
        "question": f"what {recipe} gains on five classes of CIFAR-10 with {IMAGES} training images each "
        "from weights trained on the other five: test accuracy fine-tuned less from scratch",
        "command": " ".join(["python benchmarks/fine_tuning.py", *map(shlex.quote, sys.argv[1:])]),
        "commit": commit(),
        "environment": base.environment(),
        "n": len(seeds),
        "test_images": 5000,
        "values": values,
        "mean_fine_tuned": round(statistics.mean(value["fine_tuned"] for value in values), 5),
        "mean_from_scratch": round(statistics.mean(value["from_scratch"] for value in values), 5),
        "mean_gain": round(statistics.mean(gains), 5),
        "interval_95_of_the_mean_gain": [round(end, 5) for end in mean_interval(gains)],
        "source_classes": SOURCE_CLASSES,
        "pretraining": pretraining,
        "fine_tuning": [*COMMON, *FINE_TUNING],
        "from_scratch": {name: [*COMMON, *changes] for name, changes in SCRATCH.items()},
        "from_scratch_chosen": chosen,
        "val_accuracy": {
            **{name: list(map(best_val_accuracy, runs)) for name, runs in scratch.items()},
            "fine_tuned": list(map(best_val_accuracy, tuned)),
        },
        "note": "one pretraining for all seeds; a seed draws the images, the order and the first weights; "
        "settings were chosen on validation and each test set opened once",
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--recipe", default="cifar10-cnn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = measure(args.recipe, args.folder, args.seeds)
    low, high = record["interval_95_of_the_mean_gain"]
    print(
        f"fine-tuned {record['mean_fine_tuned']:.2%}, from scratch {record['mean_from_scratch']:.2%}: "
        f"a gain of {record['mean_gain']:.2%} ({low:.2%} to {high:.2%}, n = {record['n']})"
    )
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
