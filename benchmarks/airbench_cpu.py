"""airbench94_muon on the CPU, in its best honest form there, beside which `bench speedrun` can be read.

The script is the peer's own (github.com/KellerJordan/cifar10-airbench); this one imports it from a checkout
and, while it runs, puts float32 in the place of half and bfloat16, the host's clock in the place of CUDA's
events and nothing in the place of compiling. Its images come from pictorch's store, shuffled, since its
whitening takes the first 5,000; batches are channels_last. It runs with the allocator as it is and with
pictorch's settings of it, each in a process of its own:

    python benchmarks/airbench_cpu.py CHECKOUT [--data cifar10] [--allocator both] [--precision float32]
        [--seeds 1] [--steps N] [--note TEXT] [--out record.json]

With --precision bf16 the forward pass runs under autocast, as pictorch's does where the CPU has the
instructions; weights stay float32. With --steps only N steps of each are timed: images/s, and no accuracy.
Its clock has whitening, preparing the images, the training and, at the end, the evaluation in six views.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import torch
from peer_data import write_tensors
from resident_batch import commit
from torch import Tensor, nn

from pictorch.host import keep_freed_memory, load_share, physical_cores
from pictorch.recipe import TrainSection
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime

SCRIPT = "airbench94_muon.py"


class HostEvent:
    """Stands in for torch.cuda.Event."""

    def __init__(self, enable_timing: bool) -> None:
        self.seconds = 0.0

    def record(self) -> None:
        """Notes the time."""
        self.seconds = time.perf_counter()

    def elapsed_time(self, later: "HostEvent") -> float:
        """Returns milliseconds."""
        return 1e3 * (later.seconds - self.seconds)


class EnoughStepsError(Exception):
    """Ends the peer's training after the steps that are timed."""


def put_the_host_in_place_of_cuda(precision: str) -> None:
    """Changes torch in this process, so that a script for CUDA runs on the CPU; half becomes float32."""
    load = cast(Callable[..., Any], torch.load)
    replaced: list[tuple[object, str, object]] = [
        (torch, "compile", lambda function, **_: function),
        (torch, "load", lambda path, map_location: load(path, map_location="cpu")),
        (torch.cuda, "Event", HostEvent),
        (torch.cuda, "synchronize", lambda: None),
        (Tensor, "half", Tensor.float),
        (nn.Module, "half", nn.Module.float),
    ]
    if (
        precision == "float32"
    ):  # a copy, as from another type: what is done in place must not reach the gradient
        replaced += [(Tensor, "bfloat16", lambda tensor: tensor.to(torch.float32, copy=True))]
    for owner, name, stand_in in replaced:
        setattr(owner, name, stand_in)


def imported(path: Path) -> Any:
    """Returns the peer's script as a module; what it does as a program is not done."""
    spec = importlib.util.spec_from_file_location("peer", path)
    assert spec is not None
    assert spec.loader is not None
    peer = importlib.util.module_from_spec(spec)
    sys.argv = [str(path)]  # it reads itself by that name
    spec.loader.exec_module(peer)
    return peer


def measure(
    script: Path, tensors: Path, allocator: str, precision: str, seed: int, steps: int | None
) -> dict[str, Any]:
    """Returns the figures of one training, or of its first steps; to be called in a process of its own."""
    if allocator == "kept":
        keep_freed_memory()
    put_the_host_in_place_of_cuda(precision)
    torch.set_num_threads(physical_cores())
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    os.chdir(tensors)
    peer = imported(script)
    model = peer.CifarNet().to(memory_format=torch.channels_last)
    sizes: list[int] = []

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sizes.append(len(inputs[0]))
        return (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])

    model.register_forward_pre_hook(before)
    if precision == "bf16":
        forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
        model.forward = lambda *inputs, **options: forward(*inputs, **options).float()
    told: list[dict[str, Any]] = []
    keys = ("epoch", "train_acc", "val_acc", "tta_val_acc", "time_seconds")
    tell = peer.print_training_details

    def note(variables: dict[str, Any], is_final_entry: bool) -> None:
        told.append({key: variables.get(key) for key in keys})
        tell(variables, is_final_entry)

    peer.print_training_details = note
    ends: list[float] = []
    if steps is not None:
        do_step = peer.Muon.step

        def counted(optimizer: Any) -> None:
            do_step(optimizer)
            ends.append(time.perf_counter())
            if len(ends) > steps:  # the first one is not timed
                raise EnoughStepsError

        peer.Muon.step = counted
    start = time.perf_counter()
    try:
        peer.main(seed, model)
    except EnoughStepsError:
        seconds = [after - before for before, after in pairwise(ends)]
        rate = sizes[0] / statistics.median(seconds)
        return {"allocator": allocator, "step_seconds": seconds, "images_per_second": round(rate, 1)}
    trained, judged = told[-2], told[-1]
    epochs, batch = trained["epoch"] + 1, sizes[0]
    images = epochs * (50_000 // batch) * batch
    return {
        "allocator": allocator,
        "seed": seed,
        "test_accuracy": trained["val_acc"],
        "test_accuracy_six_views": judged["tta_val_acc"],
        "test_n": 10_000,
        "epochs": epochs,
        "images": images,
        "training_seconds": round(trained["time_seconds"], 2),
        "six_view_seconds": round(judged["time_seconds"] - trained["time_seconds"], 2),
        "in_loop_seconds": round(judged["time_seconds"], 2),
        "main_seconds_with_evaluations": round(time.perf_counter() - start, 2),
        "images_per_second": round(images / trained["time_seconds"], 1),
        "epochs_told": told[:-1],
    }


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the record: every training's figures, and their means for each form."""
    forms = ("usual", "kept") if args.allocator == "both" else (args.allocator,)
    script, load = (args.checkout / SCRIPT).resolve(), load_share()
    values = []
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(args.data, Path(folder) / "cifar10")
        for seed in range(1 if args.steps else args.seeds):
            for form in forms:
                print(f"allocator {form}, seed {seed}", flush=True)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found = pool.submit(
                        measure, script, Path(folder), form, args.precision, seed, args.steps
                    ).result()
                print({key: value for key, value in found.items() if key != "epochs_told"}, flush=True)
                values.append(found)
    runtime = resolve_runtime(TrainSection(epochs=1, device="cpu", precision=args.precision))
    keys = ("images_per_second", "in_loop_seconds", "test_accuracy", "test_accuracy_six_views")
    return {
        "question": f"seconds, images/s and test accuracy of {SCRIPT} on a CPU",
        "command": f"python benchmarks/airbench_cpu.py CHECKOUT --allocator {args.allocator} "
        f"--precision {args.precision} --seeds {args.seeds}"
        + (f" --steps {args.steps}" if args.steps else ""),
        "commit": commit(),
        "peer": "github.com/KellerJordan/cifar10-airbench",
        "form": f"{args.precision}, channels_last, not compiled, images shuffled once",
        "environment": describe_environment(runtime),
        "load_before": round(load, 2),
        "n": len(values) // len(forms),
        "values": values,
        "mean": {
            form: {
                key: statistics.mean(one[key] for one in values if one["allocator"] == form)
                for key in keys
                if key in values[0]
            }
            for form in forms
        },
        "note": args.note,
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--allocator", choices=("both", "usual", "kept"), default="both")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = compare(args)
    for form, mean in record["mean"].items():
        told = ", ".join(f"{key.replace('_', ' ')} {value:,.4g}" for key, value in mean.items())
        print(f"allocator {form}: {told}")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
