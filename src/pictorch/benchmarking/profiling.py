"""Where the time and the memory of a training step go, from torch's profiler over steps of the real loop."""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from pictorch import durable, notebook
from pictorch.benchmarking.bottleneck import Operator, Part, Wait, find_bottleneck
from pictorch.benchmarking.step_records import records_of
from pictorch.benchmarking.waits import place_of_waits
from pictorch.datasets import SourceRef, Splits
from pictorch.errors import RecipeError
from pictorch.formats import megabytes, percent
from pictorch.networks import OwnNetwork
from pictorch.networks.summary import summarize
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, RecipeRef
from pictorch.result_folder import empty_folder
from pictorch.training.console import Console
from pictorch.training.convolutions import resolve_convolutions
from pictorch.training.loop import train_step
from pictorch.training.own_loss import OwnLoss
from pictorch.training.regions import STEP, region
from pictorch.training.runtime import (
    Runtime,
    peak_memory_bytes,
    resolve_runtime,
    training_memory_explained,
)
from pictorch.training.schedules import Segment
from pictorch.training.session import Own, Session, build_session
from pictorch.training.start import asked_recipe, tried_parts

WARM_UP_STEPS = 3
MOST_PROFILED_STEPS = 100  # each takes some megabytes of memory until the trace is written

_TOP_OPERATORS = 12


@dataclass(frozen=True)
class Profile:
    """Where the time and the memory of a step go. Milliseconds and bytes are those of one step, the mean.

    `step_milliseconds` and `images_per_second` were measured without the profiler, which makes a step
    `profiled_step_milliseconds` long; parts and operators are shares of that. `bottleneck` is 'data',
    'optimizer', 'rest', 'item', 'forward' or 'network', and `sentence` names it with its remedy.
    """

    recipe: str
    device: str
    precision: str
    batch_size: int
    steps: int
    step_milliseconds: float
    images_per_second: float
    profiled_step_milliseconds: float
    parts: tuple[Part, ...]
    operators: tuple[Operator, ...]
    waits: Wait
    peak_memory_bytes: int
    bottleneck: str
    sentence: str
    trace: str

    def to_json(self) -> dict[str, Any]:
        """Returns the profile as `profile --json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        parts = (
            {"part": one.name, "ms": f"{one.milliseconds:.2f}", "share": percent(one.share, 1),
             "allocated": megabytes(one.allocated_bytes)}
            for one in self.parts
        )  # fmt: skip
        figures = {"": self.sentence, "a step": f"{self.step_milliseconds:.3g} ms", "trace": self.trace}
        rows = notebook.rows("Parts", parts, left=("part",))
        return notebook.card(f"Profile of {self.recipe}", notebook.facts(figures), rows)


def profile(
    recipe: RecipeRef,
    *,
    model: OwnNetwork | None = None,
    loss: OwnLoss | None = None,
    data: SourceRef | None = None,
    steps: int = 20,
    set: Overrides = (),
    device: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
) -> Profile:
    """Trains a recipe for some steps under torch's profiler and says where their time and memory go.

    After WARM_UP_STEPS, `steps` are timed as they are and as many, MOST_PROFILED_STEPS at most, under the
    profiler; nothing is recorded, validated, saved or kept. The trace for Perfetto and the figures go into
    `out`, by default profiles/<recipe>-<NNN>. Everything else is as for `train`, errors included;
    `model.weights` are not loaded, since time does not depend on them.
    """
    if steps < 1:
        raise RecipeError(f"--steps {steps}: nothing can be measured; give at least `--steps 1`")
    console, own = console or Console(), Own(model, loss)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to stderr when it starts
    with console.recorded():
        asked = asked_recipe(recipe, own, data=data, set=set, seed=seed, device=device)
        runtime = resolve_runtime(asked.train)
        splits, network = tried_parts(asked, runtime, data, own, console)
        multiply_adds = summarize(network, asked.model.name)["multiply_adds"]
        runtime = resolve_convolutions(runtime, asked, splits.train, network, multiply_adds, console.line)
        folder = empty_folder(out, Path("profiles"), asked.name)
        explained = training_memory_explained(asked.train, runtime.device, splits.input.image_size)
        with explained, runtime.applied():
            profiled = min(steps, MOST_PROFILED_STEPS)
            console.line(f"steps of {asked.name} on {runtime.device}: {steps}, then {profiled} profiled")
            found = _measure(asked, splits, runtime, own, steps, folder / "trace.json.gz")
    durable.write_json(folder / "profile.json", found.to_json())
    return found


def _measure(recipe: Recipe, splits: Splits, runtime: Runtime, own: Own, steps: int, trace: Path) -> Profile:
    session = build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)], own)
    session.captured = None  # a graph of the whole step has no parts
    do_steps(session, WARM_UP_STEPS)
    step_seconds = do_steps(session, steps) / steps
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if runtime.device.type == "cuda" else []
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        profiled = min(steps, MOST_PROFILED_STEPS)
        do_steps(session, 1 + profiled)
    session.check_finite("none, since a profile keeps nothing")
    with durable.explained(trace):
        profiler.export_chrome_trace(str(trace))
    records = records_of(profiler.events(), profiled, on_cuda=runtime.device.type == "cuda")
    waits = Wait(records.items, None)
    if records.items and not session.runtime.compile:
        waits = Wait(records.items, place_of_waits(lambda: do_steps(session, 1)))
    found = find_bottleneck(records.parts, records.operators, waits, recipe)
    return Profile(
        recipe=recipe.name,
        device=runtime.device.type,
        precision=str(runtime.choices["train.precision"].value),
        batch_size=session.batches.batch_size,
        steps=steps,
        step_milliseconds=1000 * step_seconds,
        images_per_second=session.batches.batch_size / step_seconds,
        profiled_step_milliseconds=records.step_milliseconds,
        parts=records.parts,
        operators=records.operators[:_TOP_OPERATORS],
        waits=waits,
        peak_memory_bytes=peak_memory_bytes(runtime.device),
        bottleneck=found.part,
        sentence=found.sentence,
        trace=str(trace),
    )


def do_steps(session: Session, steps: int) -> float:
    """Does `steps` steps of training, going on where an epoch ends; returns the seconds that they took."""
    position = session.position
    session.network.train()
    session.freezing.apply(position.epoch)
    start = time.perf_counter()
    for _ in range(steps):
        with region(STEP):
            train_step(session, measure_norm=False)
        position.step_in_epoch += 1
        if position.step_in_epoch == session.epoch_steps:
            session.check_finite("none, since a profile keeps nothing")
            position.epoch, position.step_in_epoch = (position.epoch + 1) % session.epochs_planned, 0
            session.start_epoch()
    if session.runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
