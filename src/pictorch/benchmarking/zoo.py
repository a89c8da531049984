"""Networks compared: each trained, judged, exported and timed by its own recipe, in one table."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pictorch import notebook
from pictorch.benchmarking.advice import RULE, advice
from pictorch.benchmarking.latency import BATCH_SIZE, LATENCY_THREADS, Speed, speeds
from pictorch.benchmarking.picture import write_pictures
from pictorch.benchmarking.plan import changes_of, command, read_plan, settled, source_of, write_plan
from pictorch.benchmarking.record import load_now, load_remark, record_of, write_results
from pictorch.benchmarking.runs import Failure, figures, finish_run, stops_explained
from pictorch.benchmarking.zoo_row import ZooRow, row_of
from pictorch.datasets import load_splits
from pictorch.errors import UserError
from pictorch.networks import build_network, name_problem
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, load_recipe, packaged_recipes
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

SMALL_NETWORKS = ("simple_net", "lenet", "small_bn_cnn", "cifar10_cnn")

# What a network without a recipe of its own is trained with, whatever its kind.
USUAL_RECIPE = "cifar10-resnet18"
USUAL_CHANGES = (
    "optimizer.name=adamw",
    "optimizer.lr=0.001",
    "optimizer.weight_decay=0.05",
    "train.clip_norm=1",
)

_MAY_CHANGE = ("models", "seeds")  # which runs there are; how each is made stays


@dataclass(frozen=True)
class Zoo:
    """What `bench zoo` found; `record` holds everything, `remarks` what a reader of the table must know."""

    out: str
    rows: tuple[ZooRow, ...]
    remarks: tuple[str, ...]
    advice: str
    record: dict[str, Any]
    exit_code: int = 0  # of the first failure, where nothing could be measured

    def to_json(self) -> dict[str, Any]:
        """Returns the record, with the folder, as `bench zoo --json` prints it."""
        return {"out": self.out, **self.record}

    def _repr_html_(self) -> str:
        table = notebook.rows("Networks", [row.shown() for row in self.rows], left=("network",))
        facts = notebook.facts({"advice": self.advice, "folder": self.out})
        return notebook.card("Networks compared", table, facts)


@dataclass(frozen=True)
class _Entry:
    """A network of the comparison: what trains it, and why that cannot be, as far as it is known before."""

    network: str
    recipe: Recipe
    words: tuple[str, ...]  # what follows `pictorch train`, less seed and folder
    problem: Failure | None

    def folder(self, seed: int) -> str:
        return f"{self.network.replace(':', '-')}-{seed}"


def bench_zoo(
    *,
    models: str | Sequence[str] | None = None,
    recipe: str | Path | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    console: Console | None = None,
) -> Zoo:
    """Trains networks, judges each on its test images, exports and times it, and writes the comparison.

    `models` are names, or one text with commas (SMALL_NETWORKS); each is trained by the packaged recipe
    that is its own, or all by `recipe`, for `seeds` seeds (1). `out` (runs/zoo-NNN) gets a run folder for
    each, zoo.json, zoo.csv, zoo.md, zoo.svg and zoo.png. A second call with the same `out` goes on with
    the settings that it was begun with; models and seeds may be others. Raises RecipeError for settings,
    DataError for the images, StoppedError after a signal; a network that fails is a row that says why.
    """
    console = console or Console()
    given = {
        "models": models.split(",") if isinstance(models, str) else models and list(models),
        "recipe": None if recipe is None else str(recipe),
        "epochs": epochs,
        "seeds": seeds,
        "data": source_of(data),
        "device": device,
        "set": changes_of(set),
    }
    plan = read_plan(out, "zoo")
    defaults = {**dict.fromkeys(given), "models": list(SMALL_NETWORKS), "seeds": 1}
    settings = settled(plan, given, defaults, may_change=_MAY_CHANGE, out=out)
    entries = list(_entries(settings, console))
    folder = write_plan(out, "zoo", settings)
    load = load_now()
    with stops_explained(f"pictorch bench zoo --out {shlex.quote(str(folder))}"):
        values, failures = _measured(entries, range(settings["seeds"]), folder, console)
        console.line("\ntiming one image and batches of every exported network")
        speed = speeds({name: folder / found[0]["run"] for name, found in values.items()})
        return _result(entries, values, failures, speed, settings, folder, load)


def _entries(settings: Mapping[str, Any], console: Console) -> Iterator[_Entry]:
    """Yields the networks, tried; raises RecipeError for a name or setting, DataError for the images."""
    for network in dict.fromkeys(settings["models"]):
        name, changes = _recipe_of(network, settings["recipe"])
        changes += [f"data.source={settings['data']}"] if settings["data"] else []
        changes += [f"train.device={settings['device']}"] if settings["device"] else []
        changes += [] if settings["epochs"] is None else [f"train.epochs={settings['epochs']}"]
        changes += settings["set"] or []
        recipe = load_recipe(name, changes, network_problem=name_problem)
        splits = load_splits(recipe.data, console.line)
        words = [name, *(word for change in changes for word in ("--set", change))]
        problem = None
        try:
            build_network(recipe.model, len(splits.class_names), splits.input)
        except UserError as error:
            problem = Failure(str(error), error.exit_code)
        yield _Entry(network, recipe, tuple(words), problem)


def _recipe_of(network: str, given: str | None) -> tuple[str, list[str]]:
    """Returns the recipe that trains a network, and what is changed in it."""
    if given is not None:
        return given, [f"model.name={network}"]
    own = _own_recipes().get(network)
    return (own, []) if own else (USUAL_RECIPE, [f"model.name={network}", *USUAL_CHANGES])


@cache
def _own_recipes() -> dict[str, str]:
    """Returns the packaged recipe of each network that has one and starts from drawn weights.

    Of several it is the first by name: of speednet the one for the smallest machine.
    """
    names = [name for name in reversed(packaged_recipes()) if name.startswith("cifar10-")]
    models = {name: load_recipe(name).model for name in names}
    return {model.name: name for name, model in models.items() if model.weights is None}


def _measured(
    entries: Sequence[_Entry], seeds: Sequence[int], folder: Path, console: Console
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Failure]]:
    """Returns the figures of every run that came to its end, and why others did not, by network.

    A seed of all networks is done before the next, so that what is stopped can be compared.
    """
    values: dict[str, list[dict[str, Any]]] = {}
    failures = {entry.network: entry.problem for entry in entries if entry.problem}
    for seed in seeds:
        for entry in entries:
            if entry.problem:
                continue
            path = folder / entry.folder(seed)
            failure = finish_run(path, [*entry.words, "--seed", str(seed)], console)
            if failure is None:
                found = {"network": entry.network, **figures(RunFolder(path))}
                values.setdefault(entry.network, []).append(found)
            else:
                told = failure._replace(reason=f"seed {seed}: {failure.reason}")
                console.line(f"{entry.network}, {told.reason}")
                failures.setdefault(entry.network, told)
    return values, failures


def _result(
    entries: Sequence[_Entry],
    values: dict[str, list[dict[str, Any]]],
    failures: dict[str, Failure],
    speed: dict[str, Speed],
    settings: Mapping[str, Any],
    folder: Path,
    load: float,
) -> Zoo:
    """Returns the comparison after writing it down."""
    missing = {network: failure.reason for network, failure in failures.items()}
    rows = tuple(
        row_of(name, one.words[0], values.get(name, []), speed.get(name), missing.get(name))
        for one in entries
        for name in [one.network]
    )
    measured = [row for row in rows if row.test_accuracy is not None]
    advised = advice([row.candidate for row in measured])
    remarks = tuple(_remarks(rows, values, entries, speed, load))
    every = [one for found in values.values() for one in found]
    environment = RunFolder(folder / every[0]["run"]).environment() if every else {}
    record = record_of(
        "test accuracy, training, size and speed of networks, each trained by its recipe",
        command("zoo", settings),
        environment,
        n=settings["seeds"],
        load_before=load,
        rows=[asdict(row) for row in rows],
        values=every,
        speed={name: asdict(one) for name, one in speed.items()},
        remarks=remarks,
        advice=advised,
        advice_rule=RULE,
    )
    shown = [row.shown() for row in rows]
    write_results(folder, "zoo", record, [(record["rows"], shown)], [*remarks, RULE, advised])
    write_pictures(folder, measured)
    exit_code = 0 if measured else next(iter(failures.values())).exit_code
    return Zoo(str(folder), rows, remarks, advised, record, exit_code)


def _remarks(
    rows: Sequence[ZooRow],
    values: Mapping[str, list[dict[str, Any]]],
    entries: Sequence[_Entry],
    speed: Mapping[str, Speed],
    load: float,
) -> Iterator[str]:
    """Yields what was run on what, how figures were made, and what is missing."""
    for row in rows:
        if row.missing:
            yield f"missing: {row.network}: {row.missing}"
    every = [one for found in values.values() for one in found]
    if not every:
        return
    machines = {f"{one['device']}, threads: {one['threads']}, {one['precision']}" for one in every}
    yield f"trained on {' and '.join(sorted(machines))}"
    for row, entry in zip(rows, entries, strict=True):
        if row.epochs is not None:
            usual = f" with {', '.join(USUAL_CHANGES)}" if USUAL_CHANGES[0] in entry.words else ""
            yield f"{row.network}: {row.recipe}{usual}, seeds: {row.seeds}, epochs: {row.epochs:g}"
    openings = max(one["test_openings"] for one in every)
    over = "; ".join(
        f"{', '.join(row.network for row in rows if row.interval_over == kind)}: {words}"
        for kind, words in {
            "seeds": "interval of the mean over seeds (Student's t)",
            "images": "one seed, interval over the test images only (Wilson)",
        }.items()
        if any(row.interval_over == kind for row in rows)
    )
    yield f"{over}; n = {every[0]['test_n']:,} test images, openings in a run: {openings}"
    threads = next(iter(speed.values())).threads
    yield (
        f"one image: median, ONNX Runtime on the CPU with {LATENCY_THREADS} thread; answers/s: batches of "
        f"{BATCH_SIZE}, threads: {threads}; memory: peak of the process that trained"
    )
    yield from load_remark(load)
