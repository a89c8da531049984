"""A made-up run folder, whole or with parts left out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.metrics import hits, most_confident_mistakes, score
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import Evaluation, RunFolder

NAMES = ("cat", "<b>dog</b>", "白鹭")


def make_run(
    folder: Path,
    *,
    name: str = "made-up",
    overrides: tuple[str, ...] = (),
    class_names: tuple[str, ...] = NAMES,
    network: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    epochs: int = 3,
    validated: bool = True,
    finished: bool = True,
    splits: tuple[str, ...] = ("val", "test"),
    samples: bool = True,
) -> RunFolder:
    """Returns a run in `folder`; the keywords change its records or leave them out."""
    recipe = load_recipe(
        {
            "name": name,
            "data": {"source": "digits"},
            "model": {"name": "simple_net"},
            "optimizer": {"lr": 0.05},
            "train": {"epochs": 3, "seed": 17},
        },
        overrides,
    )
    run = RunFolder.create(folder / "a run", name)
    run.begin(
        recipe,
        command=["pictorch", "train", name],
        network=_made_network() if network is None else network,
        environment=_made_environment() if environment is None else environment,
        data=_made_data(class_names) if data is None else data,
        segments=[{"first_epoch": 0, "epochs": 3, "peak_factor": 1.0}],
    )
    for epoch in range(1, epochs + 1):
        _write_epoch(run, epoch, validated, len(class_names))
    if finished:
        run.write_finished(epochs)
    if samples:
        run.write_samples(_made_samples(len(class_names)))
    for split in splits:
        _write_evaluation(run, split, class_names)
    return run


def _made_network() -> dict[str, Any]:
    row = {
        "name": "network.conv1",
        "kind": "Conv2d",
        "output_shape": [16, 8, 8],
        "parameters": 448,
        "multiply_adds": 27648,
    }
    return {"name": "simple_net", "parameters": 1448, "multiply_adds": 28648, "layers": [row]}


def _made_environment() -> dict[str, Any]:
    return {
        "pictorch": "0.1.0",
        "platform": "Linux <x86>",
        "device_name": "A&B 3000",
        "threads": 2,
        "packages": {"numpy": "2.4.6"},
        "auto": {
            "train.precision": {"value": "float32", "reason": "no bf16 <here>", "measured": "1.75 <times>"}
        },
    }


def _made_data(class_names: tuple[str, ...]) -> dict[str, Any]:
    counts = {"train": 1200, "val": 60, "test": 90}
    return {
        "source": "digits",
        "origin": "scikit-learn <bundled>",
        "fingerprint": "f00d",
        "class_names": list(class_names),
        "counts": counts,
        "class_counts": {split: [n // len(class_names)] * len(class_names) for split, n in counts.items()},
        "input": {"stored_size": 8, "image_size": 8},
    }


def _made_samples(num_classes: int) -> dict[str, NDArray[Any]]:
    images = np.random.default_rng(5).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(4, dtype=np.int64) % num_classes
    return {"images": images, "labels": labels, "augmented": images[:, :, ::-1]}


def _made_classes(num_classes: int, epoch: int) -> dict[str, list[float]]:
    """The first class has the highest scores."""
    return {
        key: [round(1 - (label + 1) / (num_classes + epoch) - cut, 4) for label in range(num_classes)]
        for key, cut in {"precision": 0.0, "recall": 0.02, "f1": 0.01}.items()
    }


def _write_epoch(run: RunFolder, epoch: int, validated: bool, num_classes: int) -> None:
    for step in (1, 6):
        run.append_metrics(
            {
                "kind": "step",
                "epoch": epoch,
                "step": 10 * (epoch - 1) + step,
                "loss": 2.0 / epoch,
                "lr": 0.05 / epoch,
                "gradient_norm": 1.5 / epoch,
            }
        )
    run.append_metrics(
        {
            "kind": "epoch",
            "epoch": epoch,
            "step": 10 * epoch,
            "lr": 0.05 / epoch,
            "train_loss": 1.2344 / epoch,
            "train_accuracy": 0.5 + 0.1 * epoch,
            "val_loss": 1.3578 / epoch if validated else None,
            "val_accuracy": 0.45 + 0.1 * epoch if validated else None,
            "val_classes": _made_classes(num_classes, epoch) if validated else None,
            "gradient_norm": 1.1 / epoch,
            "best": validated and epoch <= 2,
        }
    )
    run.append_timing(
        {
            "kind": "epoch",
            "epoch": epoch,
            "step": 10 * epoch,
            "seconds": 65.25,
            "train_seconds": 60.0,
            "images_per_second": 1234.0 + epoch,
            "peak_memory_bytes": 345_678_901,
        }
    )


def _write_evaluation(run: RunFolder, split: str, class_names: tuple[str, ...]) -> Evaluation:
    """Answers rather well at random, and keeps what `evaluate` keeps."""
    generator = np.random.default_rng(len(split))
    n = {"val": 60, "test": 90}[split]
    labels = generator.integers(0, len(class_names), n)
    logits = generator.normal(size=(n, len(class_names))).astype(np.float32)
    logits[np.arange(n), labels] += 1.5
    mistakes = most_confident_mistakes(logits, labels)
    openings = run.count_test_opening() if split == "test" else 0
    evaluation = Evaluation(
        split=split,
        checkpoint="best",
        step=20,
        test_openings=openings,
        **vars(score(logits, labels, class_names)),
    )
    arrays: dict[str, NDArray[Any]] = {"logits": logits, "labels": labels}
    right = hits(logits, labels)
    kept = {"mistake": mistakes, "hit": right[:24], "typical": right[len(right) // 2 :][:1]}
    for kind, rows in kept.items():
        arrays[f"{kind}s"] = rows
        arrays[f"{kind}_images"] = generator.integers(0, 256, (len(rows), 8, 8, 3)).astype(np.uint8)
    run.write_evaluation(evaluation, arrays)
    return evaluation
