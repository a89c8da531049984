"""What each automatic setting of the CPU is worth: the loop's images/s with it and with its opposite.

All variants train the same recipe in one process, in turn, round by round; ratios are of one round:

    python benchmarks/automatic_settings.py cifar10-cnn [--steps 15] [--rounds 9] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from resident_batch import commit, images_per_second, loop_steps

from pictorch.datasets import load_splits
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import build_session
from pictorch.training.tracker import Tracker

OPPOSITES = ("train.channels_last=false", "train.threads=1", "train.precision=float32", "train.compile=true")


def compare(recipe_name: str, steps: int, rounds: int) -> dict[str, Any]:
    """Returns the images/s of every variant in every round, and the median ratio of each to `auto`."""
    splits = load_splits(load_recipe(recipe_name).data)
    with ExitStack() as stack:
        variants = {}
        for change in ("auto", *OPPOSITES):
            recipe = load_recipe(recipe_name, [] if change == "auto" else [change])
            runtime = resolve_runtime(recipe.train)
            session = build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)])
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            tracker = stack.enter_context(Tracker(RunFolder(folder), session, Console("quiet")))
            variants[change] = (runtime, session, tracker)
            with runtime.applied():
                loop_steps(session, tracker, 5)
        speeds: dict[str, list[float]] = {change: [] for change in variants}
        for _ in range(rounds):
            for change, (runtime, session, tracker) in variants.items():
                with runtime.applied():
                    speeds[change].append(images_per_second(loop_steps, session, tracker, steps))
            print("  ".join(f"{change} {values[-1]:,.0f}" for change, values in speeds.items()), flush=True)
        environment = describe_environment(variants["auto"][0])
    ratios = {
        change: [auto / other for auto, other in zip(speeds["auto"], speeds[change], strict=True)]
        for change in OPPOSITES
    }
    return {
        "question": "how many times the images/s of its opposite an automatic setting gives",
        "command": " ".join(["python benchmarks/automatic_settings.py", *sys.argv[1:]]),
        "commit": commit(),
        "environment": environment,
        "n": rounds,
        "images_per_second": speeds,
        "ratios_to_auto": ratios,
        "median_ratio": {change: statistics.median(values) for change, values in ratios.items()},
        "range_of_ratios": {change: [min(values), max(values)] for change, values in ratios.items()},
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = compare(args.recipe, args.steps, args.rounds)
    for change, ratio in record["median_ratio"].items():
        low, high = record["range_of_ratios"][change]
        print(f"auto is {ratio:.2f} times {change} ({low:.2f} to {high:.2f}, {record['n']} rounds)")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
