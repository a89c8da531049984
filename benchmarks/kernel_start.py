"""How much later a training starts by kernels that are built and measured already, by turns with torch's own.

`python benchmarks/kernel_start.py OUT.json [ROUNDS] [RECIPE]`, idle machine, CIFAR-10 in PICTORCH_DATA.
A first start of each form builds, measures and decodes what the others find; it does not count. Each start is
timed from the outside and killed after its first step.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from pictorch.benchmarking.record import commit
from pictorch.host import cpu_name

FORMS = ("library", "auto")
CHOSEN, STEPPED = "until convolutions are chosen", "until the first step is done"


def seconds_of_start(form: str, recipe: str) -> dict[str, float]:
    """Returns the seconds from the start of the process until its run is begun, and until its first step."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, "-m", "pictorch", "train", recipe, "-q", "--out", str(run)]
        command += ["--set", f"train.kernels={form}", "--set", "train.log_every_steps=1"]
        marks = {CHOSEN: run / "run.json", STEPPED: run / "timing.jsonl"}
        found: dict[str, float] = {}
        start = time.perf_counter()
        with subprocess.Popen(command, env={**os.environ, "PICTORCH_OFFLINE": "1"}) as process:
            while len(found) < len(marks):
                assert process.poll() is None, "it ended before its first step"
                for name, path in marks.items():
                    if name not in found and path.exists() and path.stat().st_size:
                        found[name] = time.perf_counter() - start
                time.sleep(0.002)
            began_with = json.loads(Path(run, "environment.json").read_text())["convolutions"]
            assert (began_with is not None) == (form == "auto"), "the training is too short, or not faster so"
            process.kill()
    return found


def main() -> None:
    """Times both forms by turns and writes the record."""
    out, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    recipe = sys.argv[3] if len(sys.argv) > 3 else "cifar10-fast94"
    values: dict[str, dict[str, list[float]]] = {form: {CHOSEN: [], STEPPED: []} for form in FORMS}
    for number in range(rounds + 1):
        for form in FORMS[:: 1 if number % 2 == 0 else -1]:
            for name, seconds in seconds_of_start(form, recipe).items():
                print(number, form, name, f"{seconds:.2f} s", flush=True)
                if number:
                    values[form][name].append(round(seconds, 3))
    medians = {form: {name: statistics.median(each) for name, each in values[form].items()} for form in FORMS}
    record = {
        "question": f"how much later {recipe} starts by kernels that are built and measured already",
        "command": f"python benchmarks/kernel_start.py OUT.json {rounds} {recipe}",
        "commit": commit(),
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "n": rounds,
        "unit": "s",
        "values": values,
        "median": medians,
        "later by": {
            name: round(medians["auto"][name] - medians["library"][name], 3) for name in (CHOSEN, STEPPED)
        },
    }
    Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
