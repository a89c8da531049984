"""A recipe against the clock: how often it reaches an accuracy, and in how many seconds from a cold start."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictorch import durable, notebook
from pictorch.benchmarking.flops import multiply_adds_of_sides, training_flops
from pictorch.benchmarking.peak import measured_peak
from pictorch.benchmarking.plan import changes_of, command, read_plan, settled, source_of, write_plan
from pictorch.benchmarking.record import load_now, load_remark, record_of, write_results
from pictorch.benchmarking.runs import Failure, stops_explained, train_run
from pictorch.benchmarking.speedrun_rows import SeedRow, Summary, summary_of
from pictorch.datasets import load_splits
from pictorch.errors import RecipeError, UserError
from pictorch.evaluation.evaluate import evaluate
from pictorch.formats import percent
from pictorch.kernels.layers import OwnConvolutions
from pictorch.networks import name_problem
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, load_recipe, packaged_recipes
from pictorch.run_folder import RunFolder
from pictorch.run_records import read_json
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import Runtime, resolve_runtime

VIEWS = "flip_shift"
FAMILY = "cifar10-fast"  # the packaged recipes for a target: its percent follows
CONVENTION = (
    "model FLOPs: 3 x 2 x multiply-adds of convolutions and linear layers x images, at the size that each "
    "step saw; gradients that a frozen layer does not need are counted too"
)
_SECONDS = "seconds.json"
_MAY_CHANGE = ("seeds", "target")


@dataclass(frozen=True)
class Speedrun:
    """What `bench speedrun` found: a row for each seed, their summary, and what a reader must know."""

    out: str
    rows: tuple[SeedRow, ...]
    summary: Summary
    remarks: tuple[str, ...]
    record: dict[str, Any]
    exit_code: int = 0  # of the first failure, where no seed was measured

    def to_json(self) -> dict[str, Any]:
        """Returns the record, with the folder, as `bench speedrun --json` prints it."""
        return {"out": self.out, **self.record}

    def _repr_html_(self) -> str:
        summary = notebook.rows("Summary", self.summary.shown(), left=("figure",))
        seeds = notebook.rows("Seeds", [row.shown() for row in self.rows])
        return notebook.card("Speedrun", summary, seeds, notebook.facts({"folder": self.out}))


def bench_speedrun(
    recipe: str | Path | None = None,
    *,
    target: float | None = None,
    seeds: int | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    console: Console | None = None,
) -> Speedrun:
    """Trains a recipe from a cold start for each seed, opens the test set once for each, and counts seconds.

    Without `recipe` it is the packaged one for the smallest target that is not below `target` (0.94, a
    fraction). The first of `seeds` seeds (3) is the recipe's train.seed. `out` (runs/speedrun-NNN) gets a
    run folder for each, speedrun.json, speedrun.csv and speedrun.md. A second call with the same `out` goes
    on; seeds and target may be others then. A seed that fails is a row that says why. Raises RecipeError
    for settings, DataError for the images, StoppedError after a signal.
    """
    console = console or Console()
    given = {
        "recipe": None if recipe is None else str(recipe),
        "target": target,
        "seeds": seeds,
        "data": source_of(data),
        "device": device,
        "set": changes_of(set),
    }
    plan = read_plan(out, "speedrun")
    defaults = {**dict.fromkeys(given), "target": 0.94, "seeds": 3}
    settings = settled(plan, given, defaults, may_change=_MAY_CHANGE, out=out, places=("recipe",))
    settings["recipe"] = _recipe_for(settings["target"], settings["recipe"])
    changes = _changes(settings)
    chosen = load_recipe(settings["recipe"], changes, network_problem=name_problem)
    multiply_adds = multiply_adds_of_sides(chosen, load_splits(chosen.data, console.line))
    runtime = resolve_runtime(chosen.train)
    folder = write_plan(out, "speedrun", settings)
    load = load_now()
    with stops_explained(f"pictorch bench speedrun --out {shlex.quote(str(folder))}"):
        console.line("measuring what the machine multiplies at most")
        peak = measured_peak(runtime.device.type, _precision(runtime), runtime.threads)
        words = [settings["recipe"], *(word for change in changes for word in ("--set", change))]
        rows, failures = [], []
        for seed in range(chosen.train.seed, chosen.train.seed + settings["seeds"]):
            found = _ran(folder, [*words, "--seed", str(seed)], seed, console)
            if isinstance(found, Failure):
                console.line(f"seed {seed}: {found.reason}")
                failures.append(found)
                rows.append(SeedRow(seed, missing=found.reason))
            else:
                rows.append(_row(RunFolder(folder / f"seed-{seed}"), seed, found, multiply_adds))
    return _result(rows, failures, chosen, runtime, settings, folder, peak, load, multiply_adds)


def _recipe_for(target: float, recipe: str | None) -> str:
    """Returns the recipe: the given one, else the packaged one for the target; raises RecipeError."""
    if not 0 < target <= 1:
        hint = f", as `--target {target / 100:g}`" if 1 < target <= 100 else ", as `--target 0.94`"
        raise RecipeError(f"--target {target:g} is no accuracy between 0 and 1; give a fraction{hint}")
    if recipe is not None:
        return recipe
    names = [name for name in packaged_recipes() if name.startswith(FAMILY)]
    targets = {int(name.removeprefix(FAMILY)) / 100: name for name in names}
    enough = [one for one in targets if one >= target]
    if not enough:
        raise RecipeError(
            f"--target {target:g}: no packaged recipe is made for so much; give a RECIPE of your own, or at "
            f"most `--target {max(targets):g}`"
        )
    return targets[min(enough)]


def _changes(settings: Mapping[str, Any]) -> list[str]:
    """Returns what is changed in the recipe."""
    changes = [f"data.source={settings['data']}"] if settings["data"] else []
    changes += [f"train.device={settings['device']}"] if settings["device"] else []
    return changes + (settings["set"] or [])


def _precision(runtime: Runtime) -> str:
    return str(runtime.choices["train.precision"].value)


def _ran(folder: Path, words: Sequence[str], seed: int, console: Console) -> dict[str, float] | Failure:
    """Trains a seed and opens its test set, as far as that is not done; returns the seconds of both.

    There is no 'total_seconds' of a training that was stopped and went on: it had more than one start.
    """
    path, kept = folder / f"seed-{seed}", folder / _SECONDS
    every = read_json(kept) if kept.exists() else {}
    seconds: dict[str, float] = every.get(str(seed), {})
    is_cold = not path.exists()
    start = time.perf_counter()
    failure = train_run(path, words, console)
    if failure is not None:
        return failure
    if is_cold:
        seconds["total_seconds"] = round(time.perf_counter() - start, 3)
        durable.write_json(kept, {**every, str(seed): seconds})
    evaluation = RunFolder(path).evaluation("test")
    if evaluation is None or evaluation.views is None:
        start = time.perf_counter()
        try:
            evaluate(path, split="test", views=VIEWS, console=console)
        except UserError as error:
            return Failure(str(error), error.exit_code)
        seconds["evaluation_seconds"] = round(time.perf_counter() - start, 3)
        durable.write_json(kept, {**every, str(seed): seconds})
    return seconds


def _row(
    run: RunFolder, seed: int, seconds: Mapping[str, float], multiply_adds: Mapping[int, int]
) -> SeedRow:
    """Returns what a run that is trained and judged says of itself."""
    evaluation = run.evaluation("test")
    assert evaluation is not None, run.path
    assert evaluation.views is not None, run.path
    lines = [line for line in run.timing() if line["kind"] in ("epoch", "stop")]
    data, recipe = run.data(), run.recipe()
    training_images, steps = data["counts"]["train"], lines[-1]["step"]
    return SeedRow(
        seed,
        test_accuracy=evaluation.accuracy,
        test_accuracy_views=evaluation.views.accuracy,
        test_n=evaluation.n,
        test_openings=data["test_openings"],
        checkpoint=evaluation.checkpoint,
        epochs=min(len(run.epochs()), recipe.train.epochs),
        steps=steps,
        images=steps * min(recipe.train.batch_size, training_images),
        in_loop_seconds=round(sum(line["train_seconds"] for line in lines), 3),
        total_seconds=seconds.get("total_seconds"),
        evaluation_seconds=seconds.get("evaluation_seconds"),
        model_flops=training_flops(recipe, training_images, steps, multiply_adds),
        peak_memory_bytes=max(line["peak_memory_bytes"] for line in lines),
    )


def _result(
    rows: Sequence[SeedRow],
    failures: Sequence[Failure],
    recipe: Recipe,
    runtime: Runtime,
    settings: Mapping[str, Any],
    folder: Path,
    peak: float,
    load: float,
    multiply_adds: Mapping[int, int],
) -> Speedrun:
    """Returns the speedrun after writing it down."""
    summary = summary_of(rows, settings["target"], peak, VIEWS)
    trained = [RunFolder(folder / f"seed-{row.seed}") for row in rows if not row.missing]
    environment = trained[-1].environment() if trained else describe_environment(runtime)
    remarks = tuple(_remarks(rows, environment, recipe, settings["target"], load))
    flags = {key: value for key, value in settings.items() if key != "recipe"}
    record = record_of(
        f"seconds and accuracy of {recipe.name} with a target of {percent(settings['target'], 1)}",
        command("speedrun", flags, Path(settings["recipe"]).name),
        environment,
        n=len(rows) - len(failures),
        target=settings["target"],
        views=VIEWS,
        recipe=recipe.model_dump(mode="json"),
        load_before=load,
        peak_flops_per_second=peak,
        multiply_adds_of_sides={str(side): count for side, count in multiply_adds.items()},
        summary=asdict(summary),
        values=[row.to_json() for row in rows],
        remarks=remarks,
    )
    record["recipe"]["data"]["source"] = Path(recipe.data.source or "").name
    tables = [(record["values"], [row.shown() for row in rows]), ([], summary.shown())]
    write_results(folder, "speedrun", record, tables, remarks)
    exit_code = failures[0].exit_code if failures and summary.n == 0 else 0
    return Speedrun(str(folder), tuple(rows), summary, remarks, record, exit_code)


def _remarks(
    rows: Sequence[SeedRow], environment: Mapping[str, Any], recipe: Recipe, target: float, load: float
) -> Iterator[str]:
    """Yields what was run on what, how figures were made, and what is missing."""
    for row in rows:
        if row.missing:
            yield f"missing: seed {row.seed}: {row.missing}"
    measured = [row for row in rows if not row.missing]
    if not measured:
        return
    yield (
        f"{recipe.name} on {environment['device_name']}, threads: {environment['threads']}, "
        f"{environment['auto']['train.precision']['value']}; seeds: {len(measured)}, epochs: "
        f"{measured[0].epochs}; n = {measured[0].test_n:,} test images, openings in a run: "
        f"{max(row.test_openings or 0 for row in measured)}"
    )
    if len(measured) == 1:
        yield "one seed says nothing about others: no standard error"
    if recipe.data.val_fraction:
        yield f"data.val_fraction is {recipe.data.val_fraction:g}: not trained on all training images"
    if stopped := [str(row.seed) for row in measured if row.total_seconds is None]:
        yield f"stopped and gone on with, so without total seconds: seed {', '.join(stopped)}"
    yield (
        "in the loop: batches, augmentation, steps and records of every epoch; not the start, reading and "
        "placing the images, whitening, validation, and saving (train_seconds of timing.jsonl)"
    )
    yield (
        "whole command: `pictorch train` from before its process starts to its end; the images had been "
        "read once before, so that their cache was there"
    )
    yield f"evaluation: the test set once, plain and in {VIEWS}, apart from the training"
    yield CONVENTION
    yield "peak: a square matrix product in the run's precision, on the same threads, median of nine"
    if environment["convolutions"]:
        kernels = OwnConvolutions.recorded(environment["convolutions"]).told()
        yield f"convolutions: {kernels}; they multiply less than is counted, so a share may pass 100 %"
    if target == 0.94 and not recipe.name.startswith(FAMILY):
        yield "the target is the one that is usual for CIFAR-10; `--target` names another"
    yield from load_remark(load)
