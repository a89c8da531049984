"""The accuracy of a recipe over seeds, with its curves, from run folders that the commands themselves make.

What is already trained in the folder is used, what was begun goes on, so a long measurement may be
stopped and repeated:

    python benchmarks/accuracy.py cifar10-cnn --folder DIR [--seeds 0 1 2] [--split test]
        [--views flip|flip_shift] [--set section.key=value]... [--note TEXT] [--out record.json]
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from resident_batch import commit

from pictorch.metrics.interval import mean_interval
from pictorch.run_folder import RunFolder


def pictorch(*words: str) -> None:
    """Runs a command of pictorch and ends this script where it fails."""
    print("pictorch", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "pictorch", *words], check=True)


def trained(
    recipe: str, seed: int, changes: list[str], folder: Path, split: str, views: str | None
) -> RunFolder:
    """Returns the run of a seed, trained and evaluated, after doing what of that is not done yet."""
    path = folder / f"{recipe}-{seed}"
    run = RunFolder(path)
    if not (path / "run.json").exists():
        settings = [word for change in changes for word in ("--set", change)]
        pictorch("train", recipe, "--seed", str(seed), "--out", str(path), *settings)
    elif run.facts()["finished_epoch"] is None:
        pictorch("train", "--resume", str(path))
    if run.evaluation(split) is None:
        pictorch("evaluate", str(path), "--split", split, *(["--views", views] if views else []))
    return run


def figures(run: RunFolder, split: str) -> dict[str, Any]:
    """Returns what is recorded of one run: accuracy with its interval, epochs, seconds, memory, curves."""
    evaluation, epochs = run.evaluation(split), run.epochs()
    assert evaluation is not None
    timing = [line for line in run.timing() if line["kind"] == "epoch"]
    losses = [(line["step"], round(line["loss"], 4)) for line in run.metrics() if line["kind"] == "step"]
    return {
        "seed": run.recipe().train.seed,
        "cpu_threads": run.environment()["auto"]["train.threads"]["value"],
        f"{split}_accuracy": evaluation.accuracy,
        f"{split}_interval_95": list(evaluation.accuracy_interval),
        f"{split}_accuracy_with_views": evaluation.views and evaluation.views.accuracy,
        "views": evaluation.views and evaluation.views.name,
        f"{split}_n": evaluation.n,
        "test_openings": run.data()["test_openings"],
        "best_epoch": next((line["epoch"] for line in reversed(epochs) if line["best"]), None),
        "epochs": len(epochs),
        "steps": epochs[-1]["step"],
        "training_seconds": round(sum(line["seconds"] for line in timing), 1),
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in timing),
        "val_accuracy_of_epochs": [line["val_accuracy"] for line in epochs],
        "train_loss_of_steps": losses if len(epochs) < 5 else None,
    }


def command(words: list[str]) -> str:
    """Returns what was typed, without places of this machine and the note, which the record has."""
    kept = [word for before, word in zip(["", *words], words, strict=False) if not _is_place(before, word)]
    return shlex.join(["python", "benchmarks/accuracy.py", *kept])


def _is_place(*words: str) -> bool:
    return any(word in ("--folder", "--out", "--note") for word in words)


def record_of(runs: list[RunFolder], split: str, note: str) -> dict[str, Any]:
    """Returns the record: every run's figures, and mean, deviation and interval of the accuracies."""
    values = [figures(run, split) for run in runs]
    accuracies = [value[f"{split}_accuracy"] for value in values]
    record = {
        "question": f"{split} accuracy of the recipe {runs[0].facts()['recipe']}",
        "command": command(sys.argv[1:]),
        "commit": commit(),
        "environment": runs[0].environment(),
        "n": len(runs),
        "values": values,
        f"mean_{split}_accuracy": round(statistics.mean(accuracies), 5),
        "note": note,
    }
    if all(value["views"] for value in values):
        with_views = [value[f"{split}_accuracy_with_views"] for value in values]
        record[f"mean_{split}_accuracy_with_views"] = round(statistics.mean(with_views), 5)
    if len(runs) > 1:
        record[f"std_{split}_accuracy"] = round(statistics.stdev(accuracies), 5)
        record["interval_95_of_the_mean"] = [round(end, 5) for end in mean_interval(accuracies)]
    return record


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--views", choices=("flip", "flip_shift"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs = [trained(args.recipe, seed, args.set, args.folder, args.split, args.views) for seed in args.seeds]
    record = record_of(runs, args.split, args.note)
    print(f"{record['question']}: mean {record[f'mean_{args.split}_accuracy']:.2%} of n = {record['n']}")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
