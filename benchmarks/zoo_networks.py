"""Networks of torchvision and timm on the whole way, by the command line in processes of its own.

Each is trained for 200 steps on real CIFAR-10, killed (SIGKILL) in mid-run, resumed, evaluated, exported,
verified and asked, and must reach the validation accuracy that is asked for. What --out holds of other
networks stays:

    python benchmarks/zoo_networks.py torchvision:convnext_tiny timm:vit_tiny_patch16_224 --folder DIR
        [--steps 200] [--least 0.3] [--set section.key=value]... [--note TEXT] [--out record.json]
"""

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from resident_batch import commit

from pictorch.datasets import load_splits
from pictorch.recipe import DataSection
from pictorch.run_folder import RunFolder

IMAGES = {"train": 6400, "val": 1000, "test": 500}
RECIPE: dict[str, Any] = {
    "augment": {"flip": "random"},
    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_fraction": 0.1},
    "train": {"batch_size": 128, "clip_norm": 1.0, "log_every_steps": 5, "save_every_minutes": 0.5},
}
# What short trials found: side of the images in pixels, and changes of the recipe.
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "torchvision:convnext_tiny": (32, {}),
    "torchvision:vit_b_16": (32, {"optimizer.lr": 3e-4}),
}
USUAL: tuple[int, dict[str, Any]] = (64, {})


def write_images(folder: Path) -> Path:
    """Writes a part of CIFAR-10 as folders train, val and test; none is in two of them."""
    if folder.exists():
        return folder
    splits = load_splits(DataSection(source="cifar10"))
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, images in splits.named().items():
        labels = images.labels[images.indices]
        for label, name in enumerate(splits.class_names):
            (unfinished / part / name).mkdir(parents=True)
            for row in images.indices[
                np.flatnonzero(labels == label)[: IMAGES[part] // len(splits.class_names)]
            ]:
                Image.fromarray(images.images[row]).save(unfinished / part / name / f"{row}.png")
    return unfinished.rename(folder)


def write_recipe(path: Path, name: str, steps: int, images: Path) -> None:
    """Writes the recipe of a network, which takes so many steps in whole epochs."""
    side, changes = SETTINGS.get(name, USUAL)
    recipe = json.loads(json.dumps(RECIPE))
    recipe |= {"data": {"source": str(images), "image_size": side}, "model": {"name": name}}
    for key, value in changes.items():
        section, _, field = key.partition(".")
        recipe[section][field] = value
    recipe["train"]["epochs"] = max(1, round(steps * recipe["train"]["batch_size"] / IMAGES["train"]))
    path.write_text(json.dumps(recipe))


def command(*words: str) -> list[str]:
    """Returns a command of pictorch as a list of words."""
    return [sys.executable, "-m", "pictorch", *words]


def answer(*words: str) -> tuple[dict[str, Any], float]:
    """Returns what a command prints with --json, and its seconds; ends this script where it fails."""
    print("pictorch", shlex.join(words), flush=True)
    began = time.monotonic()
    done = subprocess.run(command(*words, "--json"), check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), round(time.monotonic() - began, 1)


def steps_done(run: RunFolder) -> int:
    """Returns the last step that the run has recorded."""
    return max((line["step"] for line in run.metrics()), default=0)


def trained_and_killed(words: list[str], run: RunFolder, at_step: int) -> float:
    """Trains in a process of its own until a step is recorded behind a checkpoint, and kills it; seconds."""
    print("pictorch", shlex.join(words), flush=True)
    began = time.monotonic()
    process = subprocess.Popen(command(*words))
    while steps_done(run) < at_step or not run.checkpoints():
        if process.poll() is not None:
            raise SystemExit(f"training ended by itself with {process.returncode} before step {at_step}")
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return round(time.monotonic() - began, 1)


def whole_way(name: str, steps: int, changes: list[str], folder: Path) -> dict[str, Any]:
    """Returns the figures of one network after all of its stages; its run is removed."""
    images, run = write_images(folder / "images"), RunFolder(folder / name.replace(":", "-"))
    shutil.rmtree(run.path, ignore_errors=True)
    recipe, path = folder / f"{run.path.name}.yaml", str(run.path)
    write_recipe(recipe, name, steps, images)
    settings = [word for change in changes for word in ("--set", change)]
    words = ["train", str(recipe), "--out", path, "-q", *settings]
    seconds = {"until_killed": trained_and_killed(words, run, 5 + steps // 2)}
    killed_at = steps_done(run)
    result, seconds["resumed"] = answer("train", "--resume", path)
    assert (result["epochs"], steps_done(run)) == (result["epochs_planned"], steps), result
    judged, seconds["evaluate"] = answer("evaluate", path)
    assert judged["accuracy"] == result["best_val_accuracy"], (judged, result)
    bundle, seconds["export"] = answer("export", path)
    verified, seconds["verify"] = answer("verify", bundle["bundle"])
    picture = next((images / "test" / "ship").iterdir())
    predictions, seconds["predict"] = answer("predict", path, str(picture), "--top", "1")
    log = (run.path / "log.txt").read_text()
    timing = [line for line in run.timing() if line["kind"] == "epoch"]
    figures = {
        "network": name,
        "parameters": run.facts()["network"]["parameters"],
        "recipe": run.recipe().model_dump(mode="json", exclude_defaults=True),
        "steps": steps,
        "killed_after_step": killed_at,
        "resumed_after_step": int(log.rpartition("after step ")[2].split()[0]),
        "val_accuracy": judged["accuracy"],
        "val_interval_95": judged["accuracy_interval"],
        "val_n": judged["n"],
        "val_accuracy_of_epochs": [line["val_accuracy"] for line in run.epochs()],
        "verified": verified,
        "predicted_of_a_ship": predictions["predictions"][0]["classes"][0],
        "seconds": seconds,
        "images_per_second": [line["images_per_second"] for line in timing],
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in timing),
        "environment": run.environment(),
    }
    figures["recipe"]["data"]["source"] = "a part of CIFAR-10: " + json.dumps(IMAGES)
    verified.pop("bundle")
    shutil.rmtree(run.path)
    return figures


def main() -> None:
    """Reads the arguments, takes each network the whole way, and writes the record after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--least", type=float, default=0.3)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    values = json.loads(args.out.read_text())["values"] if args.out and args.out.exists() else []
    for name in args.networks:
        figures = {**whole_way(name, args.steps, args.set, args.folder), "commit": commit()}
        low = figures["val_accuracy"] < args.least
        print(
            f"{name}: validation accuracy {figures['val_accuracy']:.2%} after {args.steps} steps", flush=True
        )
        values = [value for value in values if value["network"] != name] + [figures]
        record = {
            "question": "which networks of torchvision and timm go the whole way, and what they reach",
            "command": "python benchmarks/zoo_networks.py NETWORK... --folder DIR",
            "n": len(values),
            "note": args.note,
            "values": values,
        }
        if args.out is not None:
            args.out.write_text(json.dumps(record, indent=2) + "\n")
        if low:
            raise SystemExit(f"{name} stays below {args.least:.0%}")


if __name__ == "__main__":
    main()
