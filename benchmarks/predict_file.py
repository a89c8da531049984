"""Images/s of `predict --out` over a folder of images, against the bare session of ONNX Runtime, by turns.

`python benchmarks/predict_file.py BUNDLE IMAGES [--rounds 7] [--out record.json]` on an idle machine. Each
turn is a new process. The bare session answers the same images from memory with a thread for each CPU, in
batches of 32 and of 64, of which the quicker counts; `predict` reads and decodes the files and writes a CSV.
"""

import argparse
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
from typing import Any

START = time.perf_counter()
BARE_BATCHES = (32, 64)
LIBRARIES = ("numpy", "pillow", "onnxruntime")


def bare(bundle: str, images: str) -> dict[str, float]:
    """Returns the images/s of the session alone, of the quickest batch size."""
    import numpy as np

    from pictorch.bundle import open_bundle
    from pictorch.bundle.bundle import MODEL
    from pictorch.bundle.onnx_model import INPUT_NAME, cpu_session
    from pictorch.predictor.image_inputs import given_images

    opened = open_bundle(bundle)
    session = cpu_session(opened.files[MODEL])
    pixels = np.stack([image.fitted(opened.input) for image in given_images([images])])
    rates = []
    for size in BARE_BATCHES:
        for _ in range(3):
            session.run(None, {INPUT_NAME: pixels[:size]})
        began = time.perf_counter()
        for place in range(0, len(pixels), size):
            session.run(None, {INPUT_NAME: pixels[place : place + size]})
        rates.append(len(pixels) / (time.perf_counter() - began))
    return {"bare": max(rates)}


def predicted(bundle: str, images: str) -> dict[str, float]:
    """Returns the images/s of predict, from an opened bundle and with imports and opening included."""
    import pictorch
    from pictorch.predictor.predictor import Predictor

    write, opened = Predictor.write, []

    def timed(self: Predictor, *options: Any) -> Any:
        opened.append(time.perf_counter())
        return write(self, *options)

    Predictor.write = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        made = pictorch.predict(bundle, [images], out=Path(folder, "all.csv"))
        ended = time.perf_counter()
    return {
        "predict": made.rows / (ended - opened[0]),
        "predict, opening included": made.rows / (ended - START),
    }


FORMS = {"bare": bare, "predicted": predicted}


def main() -> None:
    """Times both by turns, prints the record, and writes it where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=FORMS, help="measure one form once, in this process")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.only is not None:
        print(json.dumps(FORMS[args.only](args.bundle, args.images)))
        return
    from pictorch.benchmarking.record import commit
    from pictorch.host import cpu_name

    rates: dict[str, list[int]] = {}
    for number in range(args.rounds):
        for form in list(FORMS)[:: 1 if number % 2 == 0 else -1]:
            command = [sys.executable, __file__, args.bundle, args.images, "--only", form]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for name, rate in json.loads(done.stdout).items():
                rates.setdefault(name, []).append(round(rate))
        print({name: each[-1] for name, each in rates.items()}, flush=True)
    medians = {name: round(statistics.median(each)) for name, each in rates.items()}
    record = {
        "question": f"images/s of predict --out over {args.images}, against the bare ONNX Runtime session",
        "command": f"python benchmarks/predict_file.py BUNDLE {args.images} --rounds {args.rounds}",
        "commit": commit(),
        "machine": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "n": args.rounds,
        "images_per_second": {
            name: {"values": each, "median": medians[name]} for name, each in rates.items()
        },
        "share_of_bare": {
            name: round(rate / medians["bare"], 3) for name, rate in medians.items() if name != "bare"
        },
    }
    print(json.dumps(record, indent=2))
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
