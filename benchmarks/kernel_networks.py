"""Training with own 3x3 convolutions against torch's, whole networks: images/s of the loop's own steps.

Batches, augmentation, forward, loss, backward and optimiser are those of training, on made images. In each
precision the convolutions are torch's, own everywhere, and what train.kernels auto chooses; all take turns
in one process, in which auto's measuring comes first. A figure is the median of the rounds; where auto
takes torch's, it has none of its own:

    python benchmarks/kernel_networks.py resnet18:32:128 speednet:20:500 [--rounds 5] [--steps 2]
        [--precisions float32] [--note TEXT] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resident_batch import commit

from pictorch.datasets import load_splits
from pictorch.datasets.arrays import ARRAYS
from pictorch.host import cpu_name, load_share
from pictorch.kernels.layers import TORCHS, suitable_layers, use_conv3x3
from pictorch.networks import build_network
from pictorch.networks.summary import summarize
from pictorch.recipe import Recipe
from pictorch.recipe.files import load_recipe
from pictorch.training.convolutions import resolve_convolutions
from pictorch.training.loop import train_step
from pictorch.training.runtime import Runtime, resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session

PRECISIONS = ("float32", "bf16")


def recipe_of(network: str, batch: int) -> Recipe:
    """Returns the recipe that a network is timed with: speednet's own, else a plain one."""
    changes: list[tuple[str, Any]] = [
        ("data.source", ARRAYS),
        ("model.name", network),
        ("train.epochs", 1_000_000),
        ("train.batch_size", batch),
        ("train.device", "cpu"),
    ]
    if network == "speednet":
        return load_recipe("cifar10-fast94", [*changes, ("augment.sizes", [])])
    plain: dict[str, Any] = {
        "optimizer": {"name": "sgd", "lr": 0.01},
        "augment": {"flip": "random", "crop_padding": 4},
    }
    return load_recipe(plain, [*changes, ("data.val_fraction", 0)])


def choice_of(recipe: Recipe, splits: Any, precision: str) -> tuple[Runtime, float]:
    """Returns the settings with auto's convolutions, and the seconds of building and measuring."""
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})
    runtime = resolve_runtime(recipe.train)
    network = build_network(recipe.model, len(splits.class_names), splits.input)
    multiply_adds = summarize(network, "")["multiply_adds"]
    start = time.perf_counter()
    runtime = resolve_convolutions(runtime, recipe, splits.train, network, multiply_adds, print)
    return runtime, time.perf_counter() - start


def images_per_second(session: Session, runtime: Runtime, layers: Sequence[str], steps: int) -> float:
    """Returns the speed of some steps in a form."""
    use_conv3x3(session.network, layers)
    session.runtime = runtime
    start = time.perf_counter()
    for _ in range(steps):
        train_step(session, measure_norm=False)
        session.position.step_in_epoch = (session.position.step_in_epoch + 1) % session.epoch_steps
    return steps * session.batches.batch_size / (time.perf_counter() - start)


def measure(
    name: str, size: int, batch: int, rounds: int, steps: int, precisions: Sequence[str]
) -> dict[str, Any]:
    """Returns images/s of each form of a network, and how many times the library's each is."""
    recipe = recipe_of(name, batch)
    draw = np.random.default_rng(0)
    made = (draw.integers(0, 256, (4 * batch, size, size, 3), dtype=np.uint8), np.arange(4 * batch) % 10)
    splits = load_splits(recipe.data, print, made)
    forms: dict[str, tuple[Runtime, Sequence[str]]] = {}
    record: dict[str, Any] = {"network": name, "pixels": size, "batch": batch, "auto": {}}
    for precision in precisions:
        runtime, seconds = choice_of(recipe, splits, precision)
        record["auto"][precision] = {
            **runtime.choices["train.kernels"].to_json(),
            "choosing_seconds": seconds,
        }
        print(f"  {precision}: {runtime.choices['train.kernels'].reason}, in {seconds:.1f} s", flush=True)
        forms[f"library {precision}"] = (runtime, ())
        if runtime.convolutions.layers:  # else it is the library's form, and not timed again
            forms[f"auto {precision}"] = (runtime, runtime.convolutions.layers)
    plain = replace(forms[f"library {precisions[0]}"][0], convolutions=TORCHS)
    with plain.applied():
        session = build_session(recipe, splits, plain, [Segment(0, 1, 1.0)])
        session.network.train()
        for precision in precisions:
            forms[f"own {precision}"] = (
                forms[f"library {precision}"][0],
                list(suitable_layers(session.network)),
            )
        speeds: dict[str, list[float]] = {form: [] for form in forms}
        for turn in range(rounds + 1):
            for form, (runtime, layers) in forms.items():
                speed = images_per_second(session, runtime, layers, steps if turn else 1)
                speeds[form] += [speed] if turn else []
    record["images_per_second"] = {form: statistics.median(each) for form, each in speeds.items()}
    record["rounds"] = speeds
    median = record["images_per_second"]
    record["times_library"] = {
        f"{form} by library {by}": median[form] / median[f"library {by}"]
        for precision in precisions
        for form in (f"auto {precision}", f"own {precision}")
        for by in dict.fromkeys((precision, precisions[-1]))
        if form in median
    }
    return record


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+", help="NAME:IMAGE_SIZE:BATCH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path, help="a record there already is added to")
    args = parser.parse_args()
    load, values = round(load_share(), 2), []
    for given in args.networks:
        name, size, batch = given.split(":")
        print(f"{name} at {size} pixels, batches of {batch}", flush=True)
        values.append(measure(name, int(size), int(batch), args.rounds, args.steps, args.precisions))
        for form, speed in values[-1]["images_per_second"].items():
            print(f"  {form:16} {speed:8,.1f} images/s")
        for form, times in values[-1]["times_library"].items():
            print(f"  {form}: {times:.2f}", flush=True)
    record = {
        "question": "training images/s of whole networks, own 3x3 convolutions against the library's",
        "command": " ".join(["python benchmarks/kernel_networks.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": cpu_name(),
        "threads": resolve_runtime(recipe_of("lenet", 1).train).threads,
        "torch": torch.__version__,
        "n": args.rounds,
        "load_before": load,
        "note": args.note,
        "values": values,
    }
    if args.out is not None:
        if args.out.exists():
            before = json.loads(args.out.read_text())
            record = {**before, "values": before["values"] + values}
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
