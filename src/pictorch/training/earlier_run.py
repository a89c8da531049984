"""The run that an earlier start of the same training began, where there is one to go on with."""

import glob
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pictorch import durable
from pictorch.datasets.sources import SOURCES
from pictorch.errors import CheckpointError, RecipeError
from pictorch.networks.imagenet import IMAGENET
from pictorch.recipe import Recipe
from pictorch.run_folder import RunFolder, fault_of_new_run
from pictorch.training.group import Group, brief

PATHS = ("source", "train", "test", "root")  # of the data section


def check_resume(resume: str | Path, out: str | Path | None) -> None:
    """Raises RecipeError where a run that goes on is given a second folder."""
    if out is not None:
        raise RecipeError(f"--resume {resume} is where the run lies; leave out --out {out}")


def check_keeps_recipe(resume: str | Path, changes: Mapping[str, Any]) -> None:
    """Raises RecipeError where something would change the recipe of a run that goes on."""
    unwanted = [name for name, value in changes.items() if value is not None]
    if unwanted:
        raise RecipeError(f"--resume {resume} takes the run's own recipe; leave out {', '.join(unwanted)}")


def run_to_go_on_with(
    recipe: Recipe, resume: str | Path | None, out: str | Path | None, group: Group
) -> str | None:
    """Returns the run of a recipe that is there already, None where a new one is to be begun.

    `resume` names it; without that it is the one that a group had begun which torchrun starts anew.
    Raises RecipeError where the run at `resume` has another recipe, CheckpointError where no run is there.
    """
    if resume is not None:
        begun = group.told_json(lambda: _run_at(Path(resume), recipe))
    else:
        begun = group.told_json(lambda: _run_before_restart(recipe, out, group)) if group.is_joined else None
    return None if begun is None else str(begun)


def _run_at(path: Path, recipe: Recipe) -> str | None:
    with durable.explained(path):
        if not fault_of_new_run(path):
            return None
    run = RunFolder.open(path)
    before, now = fields_of(run.recipe()), fields_of(with_absolute_paths(recipe))
    changed = [field for field in {**before, **now} if before.get(field) != now.get(field)]
    if changed:
        field = changed[0]
        raise RecipeError(
            f"--resume {path}: the run was begun with {field} {brief(before.get(field))}, and now it is "
            f"{brief(now.get(field))}; leave out RECIPE and what changes it to go on with the run as it is"
        )
    return str(path)


def _run_before_restart(recipe: Recipe, out: str | Path | None, group: Group) -> str | None:
    """One start may train several recipes of the same name, one after the other."""
    numbered = sorted(Path("runs").glob(f"{glob.escape(recipe.name)}-*"), reverse=True)
    for path in numbered if out is None else [Path(out)]:
        with suppress(CheckpointError):
            run = RunFolder.open(path)
            is_earlier = group.launch.follows(run.environment().get("launch"), group.restarts)
            if is_earlier and run.recipe() == with_absolute_paths(recipe):
                return str(path)
    return None


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """Returns the values of a recipe by section.key, the name of the recipe among them."""
    values = recipe.model_dump(mode="json")
    sections = {name: section for name, section in values.items() if isinstance(section, dict)}
    fields = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return {name: value for name, value in values.items() if name not in sections} | fields


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Returns the recipe with data.source and model.weights from the root on, where they are paths."""
    data, model = recipe.data, recipe.model
    paths = {key: getattr(data, key) for key in PATHS}
    found = {key: _absolute(path) for key, path in paths.items() if path is not None and path not in SOURCES}
    data = data.model_copy(update=found)
    if model.weights not in (None, IMAGENET):
        model = model.model_copy(update={"weights": _absolute(str(model.weights))})
    return recipe.model_copy(update={"data": data, "model": model})


def _absolute(path: str) -> str:
    found = Path(path).expanduser()
    return str(found.resolve()) if found.exists() else path
