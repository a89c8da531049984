"""The convolutions of processes that train together: the same kernels in all, or torch's in all."""

import socket
from collections.abc import Callable, Mapping
from typing import Any

from pictorch.datasets.splits import ImageSet
from pictorch.errors import RecipeError
from pictorch.kernels.layers import OwnConvolutions
from pictorch.networks import Classifier
from pictorch.recipe import Recipe
from pictorch.training.convolutions import library_convolutions, recorded_convolutions, resolve_convolutions
from pictorch.training.environment import describe_environment
from pictorch.training.group import Group
from pictorch.training.runtime import Runtime

Say = Callable[[str], None]


def chosen_convolutions(
    runtime: Runtime,
    recipe: Recipe,
    train: ImageSet,
    network: Classifier,
    multiply_adds: int,
    say: Say,
    group: Group,
) -> Runtime:
    """Returns the settings with the convolutions that the first process chooses for a new training.

    Raises RecipeError where the recipe asks for own kernels, and not all processes can have the same.
    """
    if group.is_first:
        runtime = resolve_convolutions(runtime, recipe, train, network, multiply_adds, say)
    told = group.told_json(lambda: describe_environment(runtime))
    with group.one_after_the_other():  # so that one process of a host builds
        if not group.is_first:
            runtime = recorded_convolutions(runtime, told, say)
    return _alike(runtime, say, group, recipe.train.kernels)


def resumed_convolutions(runtime: Runtime, environment: Mapping[str, Any], say: Say, group: Group) -> Runtime:
    """Returns the settings with the convolutions that a run began with, torch's where not all have them."""
    with group.one_after_the_other():
        runtime = recorded_convolutions(runtime, environment, say)
    return _alike(runtime, say, group, None)


def _alike(runtime: Runtime, say: Say, group: Group, asked: str | None) -> Runtime:
    """Returns the settings as they are where all processes have the same kernels, else with torch's.

    `asked` is what the recipe of a new training asks for.
    """
    mine = runtime.convolutions
    first: dict[str, Any] | None = group.told_json(mine.to_json)
    other = group.world - group.largest((group.world - group.rank) * (mine.to_json() != first))[0]
    if other == group.world:
        return runtime
    fault = f"its convolutions are {mine.told()}, the first one's {OwnConvolutions.recorded(first).told()}"
    if not mine.layers:
        fault = runtime.choices["train.kernels"].reason
    if asked == "own" and group.rank == other:
        raise RecipeError(
            f"train.kernels: own is not the same in process {group.rank} on {socket.gethostname()}: {fault}; "
            "give `--set train.kernels=library`"
        )
    host, fault = group.told_json(lambda: (socket.gethostname(), fault), by=other)
    if first is not None:
        say(f"kernels torch's own in all processes, since process {other} on {host} differs: {fault}")
    rule = "" if asked is None else f"{asked}: "
    return library_convolutions(runtime, f"process {other} does not have the first one's kernels", rule=rule)
