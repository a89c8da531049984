"""The public door of training: a new run from a recipe, or an old one that goes on."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pictorch.datasets import SourceRef, Splits, load_splits
from pictorch.datasets.arrays import ARRAYS, source_name
from pictorch.datasets.augment import check_fits
from pictorch.datasets.splits import describe_splits
from pictorch.errors import DataError, RecipeError
from pictorch.networks import Classifier, OwnNetwork, build_network, name_problem
from pictorch.networks.summary import summarize
from pictorch.networks.weights import find_weights
from pictorch.networks.zoo import is_imported
from pictorch.plugins import importing, object_name
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, RecipeRef, load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.checkpoint import newest_convolutions
from pictorch.training.console import Console, command_line
from pictorch.training.convolutions import told_convolutions, untrained_convolutions
from pictorch.training.earlier_run import (
    PATHS,
    check_keeps_recipe,
    check_resume,
    fields_of,
    run_to_go_on_with,
    with_absolute_paths,
)
from pictorch.training.environment import describe_environment, inexactness
from pictorch.training.first_weights import try_weights
from pictorch.training.followed_run import FollowedRun, shared_run
from pictorch.training.group import ALONE, Group, check_divides, check_holds
from pictorch.training.group_convolutions import chosen_convolutions, resumed_convolutions
from pictorch.training.head import check_head
from pictorch.training.joining import joined
from pictorch.training.loop import fit
from pictorch.training.own_loss import OwnLoss, try_own_loss
from pictorch.training.own_network import try_own_network
from pictorch.training.parallel import check_penalty
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
    train.device and train.epochs; `set` holds 'section.key=value' overrides. With `resume` and no recipe,
    only `data` (where the same images lie now), `epochs` (the new total), and what was given as objects may
    be given. With both, the run at `resume` is begun where there is none yet, and else must be one of the
    same recipe, so that one command may be given again until the training is done. The result names the
    run folder.

    `model` is a torch.nn.Module, of which a copy is trained from the weights that it has, or a function
    of (num_classes, image_size) that returns one; `loss` a function of logits (N, C) and labels (N,), or
    shares (N, C) where images are mixed, that returns their mean; `data` may be (images uint8
    (N, H, W, 3) or grey (N, H, W), labels (N,)), with the class names third. Raises UserErrors, each with
    the exit code of the command line.

    Where torchrun started several processes, all call this alike and train together; the first one writes
    and prints. One that was restarted goes on with the run that the first start made.
    """
    console, started, own = console or Console(), time.monotonic(), Own(model, loss)
    with console.recorded(), joined() as group:
        if not group.is_first:
            console.silence()
        group.check_alike(_command(recipe, resume, epochs))
        if resume is not None:
            check_resume(resume, out)
            if recipe is None:
                check_keeps_recipe(resume, {"--set": set or None, "--seed": seed, "--device": device})
                return _resume(resume, data, epochs, own, console, started, group)
        if recipe is None:
            raise RecipeError(
                "no recipe is given; name one as in `pictorch train digits` (`pictorch recipes` lists "
                "them), or give --resume RUN"
            )
        checked = asked_recipe(recipe, own, data=data, set=set, seed=seed, device=device, epochs=epochs)
        begun = run_to_go_on_with(checked, resume, out, group)
        if begun is not None:
            arrays = data if checked.data.source == ARRAYS else None
            return _resume(begun, arrays, None, own, console, started, group)
        if resume is not None:
            console.line(f"no run is at {resume} yet: this one begins there")
        place = out if resume is None else resume
        with begun_run(checked, data, place, own, console, group=group) as (resolved, splits, run):
            return fit(resolved, splits, run, console=console, started=started, own=own, group=group)


def _command(recipe: RecipeRef | None, resume: str | Path | None, epochs: float | None) -> dict[str, Any]:
    """Returns what decides which steps a process takes, so that none waits for another that takes others."""
    given = {"RECIPE": recipe, "--resume": resume}
    words = ["train", *(name for name, value in given.items() if value is not None)]
    return {
        "the command": " ".join(words),
        "--epochs": "as begun" if recipe is not None or epochs is None else epochs,
    }


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
    group: Group = ALONE,
) -> Iterator[tuple[Recipe, Splits, RunFolder]]:
    """Yields the recipe with whole paths, its images, and a new run, locked, that nothing is trained in.

    Everything is tried before the folder is made. One that `converts` has no epochs, and takes no weights
    that do not fit as a whole.
    """
    runtime = resolve_runtime(recipe.train, group=group)
    check_holds(group, recipe.train, runtime.device.type)
    recipe = with_absolute_paths(recipe)
    with group.one_after_the_other():
        stored = find_weights(recipe.model, console.line)  # before images are decoded, which takes minutes
        splits, network = tried_parts(recipe, runtime, data, own, console, converts=converts)
    check_penalty(group, recipe, network)
    group.check_alike(facts_of_training(recipe, splits, runtime, None if stored is None else stored.sha256))
    _check_divides(recipe, splits, group, is_new=True)
    weights = try_weights(recipe.model, network, stored, splits.class_names, whole=converts)
    summary = summarize(network, recipe.model.name)
    runtime = resolve_for_work(runtime, recipe, len(splits.train), summary)
    runtime.choices["data.order"] = resolve_order(recipe.data, splits.train.images)
    if converts:
        runtime = untrained_convolutions(runtime)
    else:
        multiply_adds = summary["multiply_adds"]
        runtime = chosen_convolutions(
            runtime, recipe, splits.train, network, multiply_adds, console.line, group
        )
    path = group.told_json(lambda: str(RunFolder.create(out, recipe.name).path))
    run = RunFolder(Path(path)) if group.is_first else FollowedRun({"path": path})
    with run.lock():
        run.begin(
            recipe,
            command=command_line(),
            network=summary,
            environment=describe_environment(runtime, group),
            data=describe_splits(splits, recipe.data.training_source),
            segments=[Segment(0, 0 if converts else recipe.train.epochs, 1.0).to_json()],
            weights=None if weights is None else weights.to_json(),
        )
        console.keep_log(run.log_path)
        for line in _opening_lines(recipe, splits, run, runtime):
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


def facts_of_training(
    recipe: Recipe, splits: Splits, runtime: Runtime, weights_sha256: str | None
) -> dict[str, Any]:
    """Returns what must be equal in all processes of a training; where its files lie need not be."""
    facts = {"pictorch": version("pictorch"), "torch": torch.__version__, "device": runtime.device.type}
    facts["precision"] = runtime.choices["train.precision"].value
    paths = {*(f"data.{key}" for key in PATHS), "model.weights", "train.device", "train.precision", "name"}
    facts |= {field: value for field, value in fields_of(recipe).items() if field not in paths}
    return facts | {"images of fingerprint": splits.fingerprint, "weights of sha256": weights_sha256}


def _check_divides(recipe: Recipe, splits: Splits, group: Group, *, is_new: bool) -> None:
    batch_size = min(recipe.train.batch_size, len(splits.train))
    check_divides(group, batch_size, recipe.train.accumulate, is_new=is_new)


def _resume(
    resume: str | Path,
    data: SourceRef | None,
    epochs: float | None,
    own: Own,
    console: Console,
    started: float,
    group: Group,
) -> FitResult:
    opened = RunFolder.open(resume) if group.is_first else None
    with nullcontext() if opened is None else opened.lock():
        run = shared_run(group, opened)
        recipe = run.recipe()
        console.keep_log(run.log_path)
        added = _added_segment(run, epochs)
        if added is None and run.facts()["finished_epoch"] is not None:
            console.line(f"{run.path} is complete; --epochs N with a larger total adds to it")
            return fit_result(run, group)
        with group.one_after_the_other():
            splits = load_splits(recipe.data, console.line, data)
            check_same_data(run, splits)
        runtime, before = resolve_runtime(recipe.train, any_device=True, group=group), run.environment()
        group.check_alike(facts_of_training(recipe, splits, runtime, None))
        _check_divides(recipe, splits, group, is_new=False)
        runtime = resolve_for_work(runtime, recipe, len(splits.train), run.facts()["network"])
        runtime.choices["data.order"] = recorded_order(before)
        trained = before
        if run.checkpoints():  # their word counts: a resume elsewhere may have changed the record, saved none
            trained = {**before, "convolutions": group.told_json(lambda: newest_convolutions(run))}
        runtime = resumed_convolutions(runtime, trained, console.line, group)
        environment = describe_environment(runtime, group)
        differences = inexactness(trained, environment)
        if differences:
            console.line(f"resume is valid but will not be bit-exact: {', '.join(differences)}")
        if differences or any(environment.get(key) != before.get(key) for key in ("convolutions", "launch")):
            run.write_environment(environment)
        if (line := told_convolutions(runtime)) is not None:
            console.line(line)
        if added is not None:
            console.line(
                f"added epochs {added.first_epoch + 1} to {added.end_epoch}, whose rate falls from "
                f"{ADDED_PEAK_FACTOR:g} of the peak to 0"
            )
        for name, given in ((recipe.model.name, own.model), (recipe.loss.name, own.loss)):
            if given is None and is_imported(name):
                console.line(importing(name))
        return fit(recipe, splits, run, console=console, started=started, added=added, own=own, group=group)


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


def _opening_lines(recipe: Recipe, splits: Splits, run: RunFolder, runtime: Runtime) -> list[str]:
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
    lines += [line] if (line := told_convolutions(runtime)) else []
    if recipe.train.batch_size > len(splits.train):
        lines.append(
            f"train.batch_size {recipe.train.batch_size:,} is more than the training images: "
            f"a step takes all {len(splits.train):,}"
        )
    return lines
