"""A record script on this machine's GPU, unchanged, beside which `bench speedrun --device cuda` can be read.

The script is a peer's own file, run as a program of its own: airbench94_muon.py or airbench96_faster.py
(github.com/KellerJordan/cifar10-airbench), or cifar10_speedrun.py (github.com/hiverge/cifar10-speedrun). It
gets its images from pictorch's store; the table that it prints is read; it is ended after --runs runs or
--seconds. The first run, into which compiling falls, is not counted:

    python benchmarks/peers_gpu.py SCRIPT [--runs 20] [--seconds 300] [--data cifar10] [--out record.json]

Not yet run on a GPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from peer_data import write_tensors
from resident_batch import commit

from pictorch.metrics.interval import mean_interval
from pictorch.recipe import TrainSection
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime


def finished_runs(lines: Iterable[str]) -> Iterator[dict[str, float]]:
    """Yields the figures of every run that the table tells the end of, as it is printed."""
    heads: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.rpartition("\r")[2].split("|")][1:-1]
        if "tta_val_acc" in cells:
            heads = cells
        elif heads and len(cells) == len(heads):
            row = dict(zip(heads, cells, strict=True))
            if row["epoch"] == "eval":
                seconds = row.get("time_seconds") or row["total_time_seconds"]
                yield {
                    "test_accuracy": float(row["val_acc"]),
                    "test_accuracy_views": float(row["tta_val_acc"]),
                    "in_loop_seconds": float(seconds),
                }


def measured(script: Path, data: str, runs: int, seconds: float) -> tuple[list[dict[str, float]], float]:
    """Returns the figures of the runs after the first, and the seconds until the first one ended."""
    found: list[dict[str, float]] = []
    first_seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(data, Path(folder) / "cifar10")
        began = time.monotonic()
        command = [sys.executable, "-u", str(script.resolve())]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdout is not None
            limit = threading.Timer(seconds, peer.kill)
            limit.start()
            for figures in finished_runs(peer.stdout):
                first_seconds = first_seconds or time.monotonic() - began
                found.append(figures)
                print(f"run {len(found) - 1}: {figures}", flush=True)
                if len(found) > runs:
                    break
            limit.cancel()
            peer.kill()
    return found[1:], first_seconds


def record_of(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the record: the figures of every run, their means and the interval of the accuracy."""
    values, first_seconds = measured(args.script, args.data, args.runs, args.seconds)
    if not values:
        raise SystemExit(f"{args.script.name} ended no run after its first in {args.seconds:g} s")
    accuracies = [value["test_accuracy_views"] for value in values]
    return {
        "question": f"seconds and test accuracy of {args.script.name} on this GPU",
        "command": f"python benchmarks/peers_gpu.py {args.script.name} --runs {args.runs}",
        "commit": commit(),
        "environment": describe_environment(resolve_runtime(TrainSection(epochs=1, device="cuda"))),
        "n": len(values),
        "seconds_of_the_first_run_compiling_included": round(first_seconds, 1),
        "values": values,
        "mean": {key: statistics.mean(value[key] for value in values) for key in values[0]},
        "interval_95_of_the_mean_accuracy": list(mean_interval(accuracies)) if len(values) > 1 else None,
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = record_of(args)
    print(f"{record['question']}: {record['mean']}, n = {record['n']}")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
