"""Two processes of one thread against one process of two threads, the same recipe and global batch, by turns.

`python benchmarks/processes.py OUT.json [ROUNDS] [--set section.key=value]...` on an idle machine with two
cores. Each start trains steps of cifar10-cnn on CIFAR-10 (PICTORCH_DATA); the first of them are left out.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from pictorch.host import cpu_name

STEPS, FIRST, LAST = 100, 20, 90  # of a start, and between which the time is taken
COMMON = ["train", "cifar10-cnn", "-q", "--set", "train.log_every_steps=10", "--set", "train.kernels=library"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FORMS = {
    "1 process, 2 threads": (["-m", "pictorch"], 2),
    "2 processes, 1 thread each": ([*TORCHRUN, "-m", "pictorch"], 1),
}


def images_per_second(form: str, options: list[str]) -> float:
    """Returns the rate of one start between two of its steps."""
    program, threads = FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *program, *COMMON, "--set", f"train.threads={threads}"]
        command += ["--epochs", str(STEPS / 371), "--out", f"{folder}/run", *options]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PICTORCH_OFFLINE": "1"})
        lines = map(json.loads, Path(folder, "run/timing.jsonl").read_text().splitlines())
        # Rates are those since the start, so a step's time is steps / rate.
        seconds = {
            line["step"]: line["step"] / line["images_per_second"] for line in lines if line["kind"] == "step"
        }
    return (LAST - FIRST) / (seconds[LAST] - seconds[FIRST])


def main() -> None:
    """Times both forms by turns and writes the record."""
    out, rounds, options = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3, sys.argv[3:]
    rates: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(rounds):
        for form in list(FORMS)[:: 1 if number % 2 == 0 else -1]:
            rates[form].append(images_per_second(form, options))
            print(form, f"{rates[form][-1]:,.0f} images/s", flush=True)
    one, two = (statistics.median(each) for each in rates.values())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "question": "what two processes are worth beside two threads, cifar10-cnn, batch of 128",
        "command": " ".join(["python benchmarks/processes.py OUT.json", str(rounds), *options]),
        "commit": commit,
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "n": rounds,
        "unit": "images/s",
        "values": {form: [round(rate, 1) for rate in each] for form, each in rates.items()},
        "median": {form: round(statistics.median(each), 1) for form, each in rates.items()},
        "two processes per one": round(two / one, 3),
    }
    Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
