"""A training step of speednet against the library's convolutions alone, in the same precision and threads.

The step is the training loop's own: batch, forward and backward pass, optimiser. Against it stand the forward
pass and both gradients of each of its 3x3 convolutions, on their own inputs' shapes and in their layout, one
after the other, the first one's without the gradient of its input, since what lies before it is frozen. Both
take turns in one process; ratios are of one round:

    python benchmarks/share_of_peak.py [--recipe cifar10-fast94] [--precisions float32 bf16] [--steps 4]
        [--rounds 7] [--set section.key=value]... [--device auto] [--note TEXT] [--out record.json]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from resident_batch import commit
from torch import Tensor, nn

from pictorch.datasets import Splits, load_splits
from pictorch.host import load_share
from pictorch.networks.whitening import PatchWhitening
from pictorch.recipe.files import load_recipe
from pictorch.training.environment import describe_environment
from pictorch.training.loop import train_step
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session

Convolution = Callable[[], None]


def convolutions(session: Session) -> list[Convolution]:
    """Returns the work of each 3x3 convolution of the network on one batch, as functions."""
    images, _ = session.batches.batch(0, 0)
    found: list[Convolution] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        found.append(alone(layer, inputs[0], output, needs_input_gradient=bool(found)))

    layers = [layer for layer in session.network.modules() if isinstance(layer, nn.Conv2d)]
    kept = [layer for layer in layers if not isinstance(layer, PatchWhitening)]
    handles = [layer.register_forward_hook(note) for layer in kept]  # type: ignore[arg-type]
    with torch.no_grad(), session.runtime.autocast():
        session.network(images)
    for handle in handles:
        handle.remove()
    return found


def alone(layer: nn.Conv2d, x: Tensor, output: Tensor, *, needs_input_gradient: bool) -> Convolution:
    """Returns the forward pass and the gradients of a convolution on inputs like these."""
    order = (
        torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    )
    x = x.detach().to(output.dtype).clone(memory_format=order)
    gradient = torch.randn_like(output)
    weight = layer.weight.detach().to(output.dtype).contiguous(memory_format=order)
    geometry = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)

    def work() -> None:
        torch.convolution(x, weight, None, *geometry)
        torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *geometry, [needs_input_gradient, True, False]
        )

    return work


def seconds_of(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Returns the seconds of one call, the mean of `times`."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def compare(splits: Splits, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns images/s of the step and of the convolutions in every round, and their ratio."""
    changes = [f"train.precision={precision}", f"train.device={args.device}", "train.freeze_epoch=null"]
    recipe = load_recipe(args.recipe, [*changes, "augment.sizes=[]", *args.set])
    runtime = resolve_runtime(recipe.train)
    with runtime.applied():
        session = build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)])
        session.network.train()
        session.freezing.apply(0)
        works = convolutions(session)

        def step() -> None:
            session.position.step_in_epoch = (
                session.position.step_in_epoch + 1
            ) % session.batches.steps_per_epoch
            train_step(session, measure_norm=False)

        def library() -> None:
            for work in works:
                work()

        turns: dict[str, Callable[[], None]] = {"step": step, "convolutions": library}
        batch_size, rounds = session.batches.batch_size, []
        for work in turns.values():
            seconds_of(work, 2, runtime.device)
        for _ in range(args.rounds):
            rates = {
                name: batch_size / seconds_of(work, args.steps, runtime.device)
                for name, work in turns.items()
            }
            rounds.append({**rates, "ratio": rates["step"] / rates["convolutions"]})
            print(
                precision, "  ".join(f"{key} {value:,.4g}" for key, value in rounds[-1].items()), flush=True
            )
        environment = describe_environment(runtime)
    return {
        "precision": precision,
        "batch_size": batch_size,
        "convolutions": len(works),
        "n": args.rounds,
        "values": rounds,
        "median": {key: statistics.median(one[key] for one in rounds) for key in rounds[0]},
        "range_of_ratios": [min(one["ratio"] for one in rounds), max(one["ratio"] for one in rounds)],
        "environment": environment,
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="cifar10-fast94")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = round(load_share(), 2)
    splits = load_splits(load_recipe(args.recipe).data)
    record = {
        "question": "images/s of a training step of speednet by those of the library's convolutions alone",
        "command": " ".join(["python benchmarks/share_of_peak.py", *sys.argv[1:]]),
        "commit": commit(),
        "load_before": load,
        "note": args.note,
        "values": [compare(splits, precision, args) for precision in args.precisions],
    }
    for one in record["values"]:
        print(
            f"{one['precision']}: step {one['median']['step']:,.0f} images/s, convolutions alone "
            f"{one['median']['convolutions']:,.0f}: {one['median']['ratio']:.1%} "
            f"({one['range_of_ratios'][0]:.1%} to {one['range_of_ratios'][1]:.1%})"
        )
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
