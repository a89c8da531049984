"""The public door of training: a new run from a recipe, or an old one that goes on."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pictorch.datasets import SourceRef, Splits, load_splits
from pictorch.datasets.arrays import ARRAYS, source_name
from pictorch.datasets.augment import check_fits
from pictorch.datasets.sources import SOURCES
from pictorch.datasets.splits import describe_splits
from pictorch.errors import DataError, RecipeError
from pictorch.networks import Classifier, OwnNetwork, build_network, name_problem
from pictorch.networks.imagenet import IMAGENET
from pictorch.networks.summary import summarize
from pictorch.networks.weights import find_weights
from pictorch.networks.zoo import is_imported
from pictorch.plugins import importing, object_name
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, RecipeRef, load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console, command_line
from pictorch.training.environment import describe_environment, inexactness
from pictorch.training.first_weights import try_weights
from pictorch.training.head import check_head
from pictorch.training.loop import fit
from pictorch.training.own_loss import OwnLoss, try_own_loss
from pictorch.training.own_network import try_own_network
from pictorch.training.result import FitResult, fit_result
from pictorch.training.runtime import (
    Runtime,
    recorded_order,
    resolve_for_work,
    resolve_order,
    resolve_runtime,
)
from pictorch.training.schedules import ADDED_PEAK_FACTOR, Segment
from pictorch.training.session import Own, check_parts


def train(
    recipe: RecipeRef | None = None,
    *,
    model: OwnNetwork | None = None,
    loss: OwnLoss | None = None,
    data: SourceRef | None = None,
    out: str | Path | None = None,
    set: Overrides = (),
    seed: int | None = None,
    device: str | None = None,
    epochs: float | None = None,
    resume: str | Path | None = None,
    console: Console | None = None,
) -> FitResult:
    """Trains a recipe into a new run folder, or goes on with the run at `resume`.

    `data`, `seed`, `device` and `epochs` stand for the recipe's data.source, train.seed,
    train.device and train.epochs; `set` holds 'section.key=value' overrides. With `resume`, only
    `data` (where the same images lie now), `epochs` (the new total), and what was given as objects may
    be given. The result names the run folder.

    `model` is a torch.nn.Module, of which a copy is trained from the weights that it has, or a function
    of (num_classes, image_size) that returns one; `loss` a function of logits (N, C) and labels (N,), or
    shares (N, C) where images are mixed, that returns their mean; `data` may be (images uint8
    (N, H, W, 3) or grey (N, H, W), labels (N,)), with the class names third. Raises UserErrors, each with
    the exit code of the command line.
    """
    console, started, own = console or Console(), time.monotonic(), Own(model, loss)
    if resume is not None:
        forbidden = {"recipe": recipe, "out": out, "set": set or None, "seed": seed, "device": device}
        given = [name for name, value in forbidden.items() if value is not None]
        if given:
            unwanted = ["RECIPE" if name == "recipe" else f"--{name}" for name in given]
            raise RecipeError(
                f"--resume {resume} takes the run's own recipe; leave out {', '.join(unwanted)}"
            )
        with console.recorded():
            return _resume(RunFolder.open(resume), data, epochs, own, console, started)
    if recipe is None:
        raise RecipeError(
            "no recipe is given; name one as in `pictorch train digits` (`pictorch recipes` lists them), "
            "or give --resume RUN"
        )
    with console.recorded():
        checked = asked_recipe(recipe, own, data=data, set=set, seed=seed, device=device, epochs=epochs)
        with begun_run(checked, data, out, own, console) as (recipe, splits, run):
            return fit(recipe, splits, run, console=console, started=started, own=own)


def asked_recipe(
    recipe: RecipeRef,
    own: Own,
    *,
    data: SourceRef | None,
    set: Overrides,
    seed: int | None,
    device: str | None,
    epochs: float | None = None,
) -> Recipe:
    """Returns a recipe with what the flags of `train` change in it; raises RecipeError where it is wrong."""
    flags = {
        "data.source": None if data is None else source_name(data),
        "model.name": None if own.model is None else object_name(own.model),
        "loss.name": None if own.loss is None else object_name(own.loss),
        "train.seed": seed,
        "train.device": device,
        "train.epochs": epochs,
    }
    changes = list(set.items()) if isinstance(set, Mapping) else list(set)
    changes += [(path, value) for path, value in flags.items() if value is not None]
    return load_recipe(recipe, changes, network_problem=name_problem)


@contextmanager
def begun_run(
    recipe: Recipe,
    data: SourceRef | None,
    out: str | Path | None,
    own: Own,
    console: Console,
    *,
    converts: bool = False,
) -> Iterator[tuple[Recipe, Splits, RunFolder]]:
    """Yields the recipe with whole paths, its images, and a new run, locked, that nothing is trained in.

    Everything is tried before the folder is made. One that `converts` has no epochs, and takes no weights
    that do not fit as a whole.
    """
    runtime = resolve_runtime(recipe.train)
    recipe = _with_absolute_paths(recipe)
    stored = find_weights(recipe.model, console.line)  # before images are decoded, which takes minutes
    splits, network = tried_parts(recipe, runtime, data, own, console, converts=converts)
    weights = try_weights(recipe.model, network, stored, splits.class_names, whole=converts)
    summary = summarize(network, recipe.model.name)
    runtime = resolve_for_work(runtime, recipe, len(splits.train), summary)
    runtime.choices["data.order"] = resolve_order(recipe.data, splits.train.images)
    run = RunFolder.create(out, recipe.name)
    with run.lock():
        run.begin(
            recipe,
            command=command_line(),
            network=summary,
            environment=describe_environment(runtime),
            data=describe_splits(splits, recipe.data.training_source),
            segments=[Segment(0, 0 if converts else recipe.train.epochs, 1.0).to_json()],
            weights=None if weights is None else weights.to_json(),
        )
        console.keep_log(run.log_path)
        for line in _opening_lines(recipe, splits, run):
            console.line(line)
        if weights is not None:
            weights.show(console)
        for field, choice in runtime.choices.items():
            console.detail(
                f"        {field} = {choice.value} ({choice.reason}; {choice.measured or 'no auto'})"
            )
        yield recipe, splits, run


def tried_parts(
    recipe: Recipe,
    runtime: Runtime,
    data: SourceRef | None,
    own: Own,
    console: Console,
    *,
    converts: bool = False,
) -> tuple[Splits, Classifier]:
    """Returns the images and a network of a recipe, after all that it names was tried with them."""
    splits = load_splits(recipe.data, console.line, data if recipe.data.source == ARRAYS else None)
    check_fits(recipe.augment, splits.input.stored_size)
    network = build_network(recipe.model, len(splits.class_names), splits.input, own=own.model)
    try_own_loss(recipe, own.loss, len(splits.class_names), runtime)
    check_parts(recipe, splits, network)
    if not converts:
        check_head(recipe, network)
        try_own_network(recipe, network)
    return splits, network


def _resume(
    run: RunFolder,
    data: SourceRef | None,
    epochs: float | None,
    own: Own,
    console: Console,
    started: float,
) -> FitResult:
    with run.lock():
        recipe = run.recipe()
        console.keep_log(run.log_path)
        added = _added_segment(run, epochs)
        if added is None and run.facts()["finished_epoch"] is not None:
            console.line(f"{run.path} is complete; --epochs N with a larger total adds to it")
            return fit_result(run)
        splits = load_splits(recipe.data, console.line, data)
        check_same_data(run, splits)
        runtime, before = resolve_runtime(recipe.train, any_device=True), run.environment()
        runtime = resolve_for_work(runtime, recipe, len(splits.train), run.facts()["network"])
        runtime.choices["data.order"] = recorded_order(before)
        environment = describe_environment(runtime)
        differences = inexactness(before, environment)
        if differences:
            console.line(f"resume is valid but will not be bit-exact: {', '.join(differences)}")
            run.write_environment(environment)
        if added is not None:
            console.line(
                f"added epochs {added.first_epoch + 1} to {added.end_epoch}, whose rate falls from "
                f"{ADDED_PEAK_FACTOR:g} of the peak to 0"
            )
        for name, given in ((recipe.model.name, own.model), (recipe.loss.name, own.loss)):
            if given is None and is_imported(name):
                console.line(importing(name))
        return fit(recipe, splits, run, console=console, started=started, added=added, own=own)


def check_same_data(run: RunFolder, splits: Splits) -> None:
    """Raises DataError when the images are not those that the run was trained on."""
    recorded = run.data()
    if splits.fingerprint != recorded["fingerprint"]:
        then, now = len(recorded.get("skipped", ())), len(splits.skipped)
        skipped = f": {then:,} were skipped then, {now:,} now" if then != now else ""
        raise DataError(
            f"the images found at {splits.origin} are not those of {run.path} (their fingerprint "
            f"differs{skipped}); name the right ones with --data{', or train anew' if skipped else ''}"
        )


def _added_segment(run: RunFolder, epochs: float | None) -> Segment | None:
    """Returns the stretch of training that a larger total of epochs adds, None where it adds none.

    An epoch that ended early counts as one.
    """
    facts = run.facts()
    last = Segment(**facts["segments"][-1])
    planned: int = facts["finished_epoch"] or last.end_epoch
    total = last.first_epoch + last.epochs if planned == last.end_epoch else planned
    if epochs is None or epochs in (planned, total):
        return None
    if not planned < epochs < math.inf:
        raise RecipeError(
            f"--epochs {epochs:g}: {run.path} has {planned} already; "
            f"give a larger total, as `--epochs {planned + 1}`"
        )
    added = epochs - planned
    return Segment(planned, int(added) if added == int(added) else added, ADDED_PEAK_FACTOR)


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    """Returns the recipe with data.source and model.weights from the root on, where they are paths."""
    data, model = recipe.data, recipe.model
    paths = {key: getattr(data, key) for key in ("source", "train", "test", "root")}
    found = {key: _absolute(path) for key, path in paths.items() if path is not None and path not in SOURCES}
    data = data.model_copy(update=found)
    if model.weights not in (None, IMAGENET):
        model = model.model_copy(update={"weights": _absolute(str(model.weights))})
    return recipe.model_copy(update={"data": data, "model": model})


def _absolute(path: str) -> str:
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else path


def _opening_lines(recipe: Recipe, splits: Splits, run: RunFolder) -> list[str]:
    network = run.facts()["network"]
    counts = [f"{len(splits.train):,} training images"]
    counts += [f"{len(splits.val):,} for validation"] if splits.val is not None else []
    auto = run.environment()["auto"]
    lines = [
        f"run     {run.path}",
        f"data    {splits.origin}: {', '.join(counts)}, {len(splits.class_names)} classes",
        f"network {network['name']}: {network['parameters']:,} parameters, "
        f"{network['multiply_adds'] / 1e6:,.1f} M multiply-adds an image",
        f"machine {auto['train.device']['value']}, CPU threads {auto['train.threads']['value']}, "
        f"{auto['train.precision']['value']} ({auto['train.precision']['reason']})",
    ]
    if recipe.train.batch_size > len(splits.train):
        lines.append(
            f"train.batch_size {recipe.train.batch_size:,} is more than the training images: "
            f"a step takes all {len(splits.train):,}"
        )
    return lines
