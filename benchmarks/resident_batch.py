"""How much of a bare network's speed the training loop keeps.

Runs the loop's own step (order, augmentation, averaging, everything that the recipe asks for) and the
same network fed one resident batch with the same optimiser, in turn, in one process, and prints the
ratio pair by pair:

    python benchmarks/resident_batch.py cifar10-cnn [--steps 20] [--rounds 9] [--out record.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pictorch.datasets import load_splits
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.loop import train_step
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session
from pictorch.training.tracker import Tracker

Work = Callable[[Session, Tracker, int], None]


def loop_steps(session: Session, tracker: Tracker, steps: int) -> None:
    """Does `steps` steps as training does them, records included, going on where an epoch ends."""
    position = session.position
    for _ in range(steps):
        record = tracker.wants_record(session)
        norm = train_step(session, measure_norm=record)
        position.step_in_epoch += 1
        tracker.step(session, norm if record else None, "")
        if position.step_in_epoch == session.batches.steps_per_epoch:
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            session.start_epoch()


def bare_steps(session: Session, tracker: Tracker, steps: int) -> None:
    """Does `steps` steps of the same network and optimiser on one batch that stays where it is."""
    images, labels = session.batches.batch(0, 0)
    for _ in range(steps):
        bare_step(session, images, labels)


def bare_step(session: Session, images: Tensor, labels: Tensor) -> None:
    """Does a step of the network and optimiser alone."""
    with session.runtime.autocast():
        logits = session.network(images)
    loss = session.loss(logits.to(session.runtime.dtype), labels)
    session.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    session.scaler.step(session.optimizer)
    session.scaler.update()
    session.optimizer.zero_grad()


def images_per_second(work: Work, session: Session, tracker: Tracker, steps: int) -> float:
    """Returns the speed of `steps` steps."""
    start = time.perf_counter()
    work(session, tracker, steps)
    if session.runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return steps * session.batches.batch_size / (time.perf_counter() - start)


def compare(recipe_name: str, overrides: list[str], steps: int, rounds: int) -> dict[str, Any]:
    """Returns both speeds of every round, their ratios, and the median ratio."""
    recipe = load_recipe(recipe_name, overrides)
    runtime = resolve_runtime(recipe.train)
    with runtime.applied():
        splits = load_splits(recipe.data)
        session = build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)])
        pairs = []
        with (
            tempfile.TemporaryDirectory() as folder,
            Tracker(RunFolder(Path(folder)), session, Console("quiet")) as tracker,
        ):
            for work in (loop_steps, bare_steps):
                work(session, tracker, 5)
            for _ in range(rounds):
                loop = images_per_second(loop_steps, session, tracker, steps)
                bare = images_per_second(bare_steps, session, tracker, steps)
                pairs.append({"loop": loop, "bare": bare, "ratio": loop / bare})
                print(f"loop {loop:8,.0f}  bare {bare:8,.0f} images/s  ratio {loop / bare:.3f}", flush=True)
        environment = describe_environment(runtime)
    return {
        "question": "share of a bare network's images/s that the training loop keeps",
        "command": " ".join(["python benchmarks/resident_batch.py", *sys.argv[1:]]),
        "commit": commit(),
        "batch_size": recipe.train.batch_size,
        "environment": environment,
        "n": rounds,
        "values": pairs,
        "median_loop": statistics.median(pair["loop"] for pair in pairs),
        "median_bare": statistics.median(pair["bare"] for pair in pairs),
        "median_ratio": statistics.median(pair["ratio"] for pair in pairs),
        "mean_ratio": statistics.mean(pair["ratio"] for pair in pairs),
        "range_of_ratios": [min(pair["ratio"] for pair in pairs), max(pair["ratio"] for pair in pairs)],
    }


def commit() -> str:
    """Returns the short hash of the commit that is measured, '' outside a clone."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = compare(args.recipe, args.set, args.steps, args.rounds)
    print(f"median ratio {record['median_ratio']:.3f} over {record['n']} pairs")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
