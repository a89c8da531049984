"""How much of a bare network's speed the training loop keeps.

Runs the loop's own step (order, augmentation, averaging, everything that the recipe asks for) and the
same network fed one resident batch with the same optimiser, in turn, in one process, and prints the
ratio pair by pair:

    python benchmarks/resident_batch.py cifar10-cnn [--steps 20] [--rounds 9] [--out record.json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pictorch.datasets import load_splits
from pictorch.recipe_files import load_recipe
from pictorch.training.environment import describe_environment
from pictorch.training.loop import train_step
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session


def loop_steps(session: Session, steps: int) -> None:
    """Does `steps` steps as training does them, going on to the next epoch where one ends."""
    position, log_every = session.position, session.recipe.train.log_every_steps
    for _ in range(steps):
        train_step(session, measure_norm=(session.step + 1) % log_every == 0)
        position.step_in_epoch += 1
        if position.step_in_epoch == session.batches.steps_per_epoch:
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            session.start_epoch()


def bare_steps(session: Session, steps: int) -> None:
    """Does `steps` steps of the same network and optimiser on one batch that stays where it is."""
    images, labels = session.batches.batch(0, 0)
    for _ in range(steps):
        with session.runtime.autocast():
            logits = session.network(images)
        loss = session.loss(logits.to(session.runtime.dtype), labels)
        session.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        session.scaler.step(session.optimizer)
        session.scaler.update()
        session.optimizer.zero_grad()


def images_per_second(work: Callable[[Session, int], None], session: Session, steps: int) -> float:
    """Returns the speed of `steps` steps."""
    start = time.perf_counter()
    work(session, steps)
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
        for work in (loop_steps, bare_steps):
            work(session, 5)
        pairs = []
        for _ in range(rounds):
            loop = images_per_second(loop_steps, session, steps)
            bare = images_per_second(bare_steps, session, steps)
            pairs.append({"loop": loop, "bare": bare, "ratio": loop / bare})
            print(f"loop {loop:8,.0f}  bare {bare:8,.0f} images/s  ratio {loop / bare:.3f}", flush=True)
        environment = describe_environment(runtime)
    return {
        "question": "share of a bare network's images/s that the training loop keeps",
        "command": f"python benchmarks/resident_batch.py {recipe_name} --steps {steps} --rounds {rounds}",
        "recipe": recipe_name,
        "overrides": overrides,
        "batch_size": recipe.train.batch_size,
        "environment": environment,
        "n": rounds,
        "values": pairs,
        "median_loop": statistics.median(pair["loop"] for pair in pairs),
        "median_bare": statistics.median(pair["bare"] for pair in pairs),
        "median_ratio": statistics.median(pair["ratio"] for pair in pairs),
    }


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
