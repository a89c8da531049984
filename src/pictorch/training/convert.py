"""Makes a run of weights that were trained elsewhere, so that they are judged, shown and exported."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictorch import notebook
from pictorch.errors import RecipeError
from pictorch.formats import count
from pictorch.networks import name_problem
from pictorch.recipe import Recipe
from pictorch.recipe.files import Overrides, RecipeRef, load_recipe, packaged_recipes
from pictorch.training.console import Console
from pictorch.training.loop import finish, restore_or_begin
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Own, build_session
from pictorch.training.start import begun_run

_NORMALIZATION = ("model.mean", "model.std")
_BARE: dict[str, Any] = {"name": "converted", "optimizer": {"lr": 0.01}, "train": {"epochs": 1}}


@dataclass(frozen=True)
class Conversion:
    """A run of somebody's weights. `mean` and `std` are what its images are normalised with.

    `normalization` says where these come from: a file of weights does not tell them.
    """

    run: str
    network: str
    parameters: int
    weights: str
    sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalization: str

    def to_json(self) -> dict[str, Any]:
        """Returns the result as `convert --json` prints it."""
        return asdict(self)

    def in_words(self) -> str:
        """Returns what was assumed of the images, in one line."""
        mean, std = (", ".join(f"{value:.4g}" for value in each) for each in (self.mean, self.std))
        return f"images are normalised with mean {mean} and deviation {std}, {self.normalization}"

    def _repr_html_(self) -> str:
        figures = {"run folder": self.run, "network": self.network, "parameters": count(self.parameters)}
        return notebook.card("Conversion", notebook.facts({**figures, "assumed": self.in_words()}))


def convert(
    file: str | Path,
    *,
    model: str,
    data: str | Path | None = None,
    recipe: RecipeRef | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    console: Console | None = None,
) -> Conversion:
    """Makes a run folder of a file of weights, which evaluates, reports, exports and trains on.

    `model` names the network, every tensor of which must be in the file. The recipe says how the images
    were normalised and which ones they are: `recipe`, else the packaged one of the tutorial with that
    network; `data` and `set` change it. Raises UserErrors, each with the exit code of the command line.
    """
    console, own = console or Console("quiet"), Own()
    changes: list[str | tuple[str, Any]] = list(set.items() if isinstance(set, Mapping) else set)
    given = {change.partition("=")[0].strip() if isinstance(change, str) else change[0] for change in changes}
    chosen = chosen_recipe(model, recipe, given if data is not None else frozenset())
    changes += [("model.name", model), ("model.weights", str(file))]
    changes += [("model.stem_weights", "adapt"), ("model.head_weights", "adapt")]
    changes += [] if data is None else [("data.source", str(data))]
    with console.recorded():
        checked = load_recipe(chosen, changes, network_problem=name_problem)
        with begun_run(checked, None, out, own, console, converts=True) as (resolved, splits, run):
            runtime = resolve_runtime(resolved.train)
            with runtime.applied():
                session = build_session(resolved, splits, runtime, [Segment(0, 0, 1.0)], own)
                restore_or_begin(session, splits, run, console)
                finish(session, run, console)
            facts, normalization = run.facts(), session.network.normalization
            result = Conversion(
                run=str(run.path),
                network=resolved.model.name,
                parameters=facts["network"]["parameters"],
                weights=facts["weights"]["origin"],
                sha256=facts["weights"]["sha256"],
                mean=tuple(normalization.mean.tolist()),
                std=tuple(normalization.std.tolist()),
                normalization=_reason(resolved, given, facts["weights"]),
            )
            console.log(result.in_words())
            return result


def chosen_recipe(model: str, recipe: RecipeRef | None, given: Set[str]) -> RecipeRef:
    """Returns the recipe that was given, else that of the tutorial with this network, else a bare one."""
    problem = name_problem(model, flag="--model ")
    if problem:
        raise RecipeError(problem)
    tutorials = [name for name in packaged_recipes() if name.startswith("tutorial-")]
    packaged = next((name for name in tutorials if load_recipe(name).model.name == model), None)
    if recipe is not None or packaged is not None:
        return recipe if recipe is not None else str(packaged)
    if not given >= {*_NORMALIZATION}:
        raise RecipeError(
            f"--model {model}: no packaged recipe says how its images were normalised; give --recipe RECIPE, "
            "or --data SOURCE with --set 'model.mean=[R, G, B]' --set 'model.std=[R, G, B]'"
        )
    return {**_BARE, "data": {}, "model": {}}


def _reason(recipe: Recipe, given: Set[str], weights: Mapping[str, Any]) -> str:
    """Returns where the normalisation comes from, to follow its figures."""

    def of(field: str) -> str:
        if getattr(recipe.model, field) == "auto":
            return (
                "as the weights say" if weights[field] else f"as in the training images (model.{field} auto)"
            )
        return "as --set says" if f"model.{field}" in given else f"as recipe {recipe.name} says"

    mean, std = of("mean"), of("std")
    return mean if mean == std else f"the one {mean}, the other {std}"
