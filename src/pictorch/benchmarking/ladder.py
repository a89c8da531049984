"""The transfer tutorial's story on this machine: a small CNN, and ResNet-34 in three ways."""

import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from pictorch import notebook
from pictorch.benchmarking.ladder_rows import Rung, Worth
from pictorch.benchmarking.per_image import PerImageBatches
from pictorch.benchmarking.plan import changes_of, command, read_plan, settled, source_of, write_plan
from pictorch.benchmarking.record import load_now, load_remark, record_of, write_results
from pictorch.benchmarking.runs import Failure, figures, finish_run, stops_explained
from pictorch.benchmarking.step_times import StepTimes, session_of, time_in_turn
from pictorch.datasets import Splits, load_splits
from pictorch.datasets.batches import TrainingBatches
from pictorch.errors import UserError
from pictorch.formats import duration
from pictorch.networks.weights import find_weights
from pictorch.plugins import in_short
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import Runtime, resolve_runtime

# Each rung: its recipe, and what makes it as plain as its tutorial's code.
RUNGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "small CNN": ("tutorial-d1-small-cnn", ()),
    "ResNet-34 plain": (
        "tutorial-d2-resnet34",
        ("train.channels_last=false", "train.cudnn_benchmark=false"),
    ),
    "ResNet-34 efficient": ("tutorial-d3-resnet34-fast", ()),
    "ResNet-34 fine-tuned": ("tutorial-d4-resnet34-imagenet", ()),
}
EFFICIENT = "ResNet-34 efficient"
_TIMED_STEPS = 5  # where --steps names no number


@dataclass(frozen=True)
class Ladder:
    """What `bench ladder` found; `record` holds everything, `remarks` what a reader must know."""

    out: str
    rungs: tuple[Rung, ...]
    worths: tuple[Worth, ...]
    remarks: tuple[str, ...]
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the record, with the folder, as `bench ladder --json` prints it."""
        return {"out": self.out, **self.record}

    def _repr_html_(self) -> str:
        rungs = notebook.rows("Rungs", [rung.shown() for rung in self.rungs], left=("rung",))
        worths = notebook.rows("Steps", [one.shown() for one in self.worths], left=("step", "in place of"))
        return notebook.card("From a small CNN to ResNet-34", rungs, worths)


@dataclass(frozen=True)
class _Switch:
    """One step to efficiency: what is changed in the efficient rung, and whether the step is in use there."""

    step: str
    without: str
    change: str | None
    is_used: Callable[[Recipe, Runtime], bool]


_SWITCHES = (
    _Switch("channels_last", "N,C,H,W", "train.channels_last=false", lambda _, r: r.channels_last),
    _Switch("mixed precision", "float32", "train.precision=float32", lambda _, r: bool(r.autocast_dtype)),
    _Switch("batch size", "batches of 8", "train.batch_size=8", lambda r, _: r.train.batch_size > 8),
    _Switch("resident data", "image after image, PIL", None, lambda *_: True),
    _Switch("compile", "not compiled", "train.compile=true", lambda *_: True),
)
_ADDED = "compile"  # is not part of the efficient rung: switched on alone, not off


def bench_ladder(
    *,
    steps: int | None = None,
    epochs: int | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    console: Console | None = None,
) -> Ladder:
    """Times the four rungs of RUNGS and what each step to efficiency is worth; trains them without `steps`.

    With `steps` each rung and each switched step does so many steps of the real loop, in turn; seconds an
    epoch are the median step's times the steps of an epoch, and there is no accuracy. Without it every
    rung is trained as well, by its recipe or for `epochs`, judged on the test images, and its epochs tell
    the seconds. `out` (runs/ladder-NNN) gets ladder.json, ladder.csv, ladder.md and the runs; a second
    call goes on with it. A rung whose weights cannot be had is missing, with the reason. Raises
    RecipeError for settings, DataError for the images, StoppedError after a signal.
    """
    console = console or Console()
    given = {
        "steps": steps,
        "epochs": epochs,
        "data": source_of(data),
        "device": device,
        "set": changes_of(set),
    }
    plan = read_plan(out, "ladder")
    settings = settled(plan, given, dict.fromkeys(given), may_change=(), out=out)
    recipes = {name: load_recipe(recipe, _changes(name, settings)) for name, (recipe, _) in RUNGS.items()}
    splits = {name: load_splits(recipe.data, console.line) for name, recipe in recipes.items()}
    folder = write_plan(out, "ladder", settings)
    load = load_now()
    with stops_explained(f"pictorch bench ladder --out {shlex.quote(str(folder))}"):
        timed = _timed(recipes, splits, settings["steps"] or _TIMED_STEPS, console)
        rungs, values = list(timed.rungs()), timed.values()
        environment = describe_environment(resolve_runtime(recipes[EFFICIENT].train))
        worths = list(timed.worths())
        del timed  # its networks and their optimisers
        if settings["steps"] is None:
            rungs = [_trained(rung, folder, settings, console) for rung in rungs]
        return _result(rungs, worths, values, environment, settings, folder, load)


def _changes(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Returns what is changed in the recipe of a rung."""
    changes = list(RUNGS[name][1])
    changes += [f"data.source={settings['data']}"] if settings["data"] else []
    changes += [f"train.device={settings['device']}"] if settings["device"] else []
    changes += [] if settings["epochs"] is None else [f"train.epochs={settings['epochs']}"]
    return changes + (settings["set"] or [])


class _Timed:
    """The trainings whose steps are timed, those that could be built, and why others could not."""

    def __init__(self, recipes: dict[str, Recipe], splits: dict[str, Splits]) -> None:
        self.recipes, self.splits = recipes, splits
        self.trainings: dict[str, StepTimes] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, build: Callable[[], StepTimes], console: Console) -> None:
        """Builds a training and does its first step."""
        try:
            training = build()
            training.warm_up()
        except UserError as error:
            self.missing[name] = str(error)
        except Exception as error:
            if name != _ADDED:
                raise
            self.missing[name] = in_short(error)  # a compiler has many ways to fail
        else:
            self.trainings[name] = training
            return console.line(f"{name}: first step {training.first_seconds:.3g} s")
        return console.line(f"{name}: {self.missing[name]}")

    def rungs(self) -> Iterator[Rung]:
        """Yields the rungs as their steps tell of them."""
        for name, recipe in self.recipes.items():
            runtime = resolve_runtime(recipe.train)
            precision = str(runtime.choices["train.precision"].value)
            rung = Rung(name, RUNGS[name][0], recipe.train.batch_size, precision)
            if name in self.missing:
                yield replace(rung, missing=self.missing[name])
                continue
            training = self.trainings[name]
            yield replace(
                rung,
                batch_size=training.session.batches.batch_size,
                steps_per_epoch=training.session.batches.steps_per_epoch,
                epoch_seconds=training.epoch_seconds,
                images_per_second=statistics.median(training.rates),
                timed="steps",
            )

    def worths(self) -> Iterator[Worth]:
        """Yields what each step to efficiency is worth."""
        for switch in _SWITCHES:
            worth = Worth(switch.step, switch.without)
            reason = self.missing.get(switch.step) or self.missing.get(EFFICIENT)
            if reason:
                yield replace(worth, missing=reason)
                continue
            pair = [self.trainings[EFFICIENT].rates, self.trainings[switch.step].rates]
            on, off = pair[::-1] if switch.step == _ADDED else pair
            factors = [one / other for one, other in zip(on, off, strict=True)]
            yield replace(worth, factor=statistics.median(factors), lowest=min(factors), highest=max(factors))

    def values(self) -> dict[str, Any]:
        """Returns every timed second, by rung and by switched step."""
        return {
            name: {
                "batch_size": training.session.batches.batch_size,
                "first_seconds": round(training.first_seconds, 4),
                "seconds": [round(seconds, 5) for seconds in training.seconds],
            }
            for name, training in self.trainings.items()
        }


def _timed(recipes: dict[str, Recipe], splits: dict[str, Splits], steps: int, console: Console) -> _Timed:
    """Returns the rungs and the efficient one's switches after so many timed steps of each."""
    timed = _Timed(recipes, splits)
    for name, recipe in recipes.items():
        timed.add(name, partial(_rung, name, recipe, splits[name], console), console)
    if EFFICIENT in timed.trainings:
        efficient = timed.trainings[EFFICIENT]
        for switch in _SWITCHES:
            if not switch.is_used(recipes[EFFICIENT], efficient.session.runtime):
                timed.missing[switch.step] = "not in use on this device"
                continue
            timed.add(switch.step, partial(_switched, switch, efficient, splits[EFFICIENT]), console)
    time_in_turn(list(timed.trainings.values()), steps, console)
    return timed


def _rung(name: str, recipe: Recipe, splits: Splits, console: Console) -> StepTimes:
    """Returns a rung ready to be timed; raises CheckpointError where its weights cannot be had."""
    find_weights(recipe.model, console.line)
    return StepTimes(name, session_of(recipe, splits))


def _switched(switch: _Switch, efficient: StepTimes, splits: Splits) -> StepTimes:
    """Returns the efficient rung with one step switched."""
    session = efficient.session
    if switch.change is not None:
        return StepTimes(switch.step, session_of(load_recipe(session.recipe, [switch.change]), splits))
    train = session.recipe.train
    batches = PerImageBatches(
        splits.train, seed=train.seed, batch_size=train.batch_size, device=session.runtime.device
    )
    twin = session_of(session.recipe, splits)
    twin.batches = cast(TrainingBatches, batches)
    return StepTimes(switch.step, twin)


def _trained(rung: Rung, folder: Path, settings: Mapping[str, Any], console: Console) -> Rung:
    """Returns a rung with what its training tells, after doing what of that is not done yet."""
    if rung.missing:
        return rung
    recipe, path = RUNGS[rung.name][0], folder / RUNGS[rung.name][0]
    console.line(f"{rung.name}: an epoch takes about {duration(rung.epoch_seconds or 0)} here")
    words = [recipe, *(word for change in _changes(rung.name, settings) for word in ("--set", change))]
    failure: Failure | None = finish_run(path, words, console)
    if failure is not None:
        return replace(rung, missing=failure.reason)
    found = figures(RunFolder(path))
    low, high = found["test_interval_95"]
    return replace(
        rung,
        epoch_seconds=found["epoch_seconds"],
        images_per_second=found["images_per_second"],
        timed="epochs",
        test_accuracy=found["test_accuracy"],
        interval_low=low,
        interval_high=high,
    )


def _result(
    rungs: list[Rung],
    worths: list[Worth],
    values: dict[str, Any],
    environment: dict[str, Any],
    settings: Mapping[str, Any],
    folder: Path,
    load: float,
) -> Ladder:
    """Returns the ladder after writing it down."""
    remarks = tuple(_remarks(rungs, worths, values, environment, settings, load))
    record = record_of(
        "seconds an epoch and accuracy of a small CNN and of ResNet-34 plain, efficient and fine-tuned",
        command("ladder", settings),
        environment,
        n=settings["steps"] or _TIMED_STEPS,
        load_before=load,
        rungs=[asdict(rung) for rung in rungs],
        worths=[asdict(worth) for worth in worths],
        values=values,
        remarks=remarks,
    )
    tables = [
        (record["rungs"], [rung.shown() for rung in rungs]),
        (record["worths"], [worth.shown() for worth in worths]),
    ]
    write_results(folder, "ladder", record, tables, remarks)
    return Ladder(str(folder), tuple(rungs), tuple(worths), remarks, record)


def _remarks(
    rungs: list[Rung],
    worths: list[Worth],
    values: dict[str, Any],
    environment: dict[str, Any],
    settings: Mapping[str, Any],
    load: float,
) -> Iterator[str]:
    """Yields what was run on what, how figures were made, and what is missing."""
    for name, reason in [(rung.name, rung.missing) for rung in rungs] + [(w.step, w.missing) for w in worths]:
        if reason:
            yield f"missing: {name}: {reason}"
    steps = settings["steps"] or _TIMED_STEPS
    yield (
        f"on {environment['device_name']}, threads: {environment['threads']}; timed steps of each: {steps}, "
        "in turn, after one that is not timed"
    )
    if any(rung.timed == "steps" for rung in rungs):
        yield "an epoch: the median step times the steps of an epoch, without validation; not run as a whole"
        yield "accuracy: not measured in a few steps; without --steps every rung is trained and judged"
    if any(rung.timed == "epochs" for rung in rungs):
        yield "an epoch: median of the training's epochs, with validation"
        yield "accuracy: of one seed, its 95 % interval over the test images"
    yield "worth: median over the rounds of images/s with the step by images/s without, all else as efficient"
    if _ADDED in values:
        yield f"compiling took {duration(values[_ADDED]['first_seconds'])}, which is in none of the figures"
    yield from load_remark(load)
