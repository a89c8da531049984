"""The run folder as a process sees it that is not the first of its group: told of, and never written."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from pictorch.recipe import Recipe
from pictorch.recipe.files import dump_recipe, load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.group import Group


class FollowedRun(RunFolder):
    """A run folder that lies with the first process. What is written is kept as facts or dropped."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(Path(told["path"]))
        self._told = dict(told)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Does nothing: the first process holds the folder."""
        yield

    def begin(self, recipe: Recipe, **records: Any) -> None:
        """Keeps what the run starts with."""
        facts = {"segments": records["segments"], "network": records["network"], "finished_epoch": None}
        self._told |= {"facts": {**facts, "weights": records["weights"]}}
        self._told |= {"environment": records["environment"], "data": records["data"], "checkpoints": []}

    @property
    def log_path(self) -> Path:
        """Where lines go that nobody reads."""
        return Path(os.devnull)

    def facts(self) -> dict[str, Any]:
        """Returns run.json as it was when this process was told of it."""
        facts: dict[str, Any] = self._told["facts"]
        return facts

    def recipe(self) -> Recipe:
        """Returns the resolved recipe of the run."""
        return load_recipe(yaml.safe_load(self._told["recipe"]))

    def environment(self) -> dict[str, Any]:
        """Returns environment.json as it was."""
        environment: dict[str, Any] = self._told["environment"]
        return environment

    def data(self) -> dict[str, Any]:
        """Returns data.json as it was."""
        data: dict[str, Any] = self._told["data"]
        return data

    def checkpoints(self) -> list[str]:
        """Returns the names of the checkpoints that were there."""
        names: list[str] = self._told["checkpoints"]
        return names

    def write_segments(self, segments: list[dict[str, Any]]) -> None:
        """Drops it."""

    def write_finished(self, epoch: int) -> None:
        """Drops it."""

    def write_stopped(self, cause: str | None) -> None:
        """Drops it."""

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Keeps it, as what comes later asks for it."""
        self._told["environment"] = environment

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Drops it."""

    def append_timing(self, record: dict[str, Any]) -> None:
        """Drops it."""

    def cut_back(self, metrics_bytes: int, last_step: int) -> None:
        """Drops it."""

    def write_samples(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Drops it."""

    def drop_checkpoints(self, *, keep: int, until_epoch: int) -> None:
        """Drops it."""


def shared_run(group: Group, run: RunFolder | None) -> RunFolder:
    """Returns the run of the first process, in the others as they are told of it."""

    def told() -> dict[str, Any]:
        assert run is not None, "the first process has it"
        names = run.checkpoints()
        records = {"facts": run.facts(), "environment": run.environment(), "data": run.data()}
        return {"path": str(run.path), "recipe": dump_recipe(run.recipe()), "checkpoints": names, **records}

    if not group.is_joined:
        assert run is not None
        return run
    about = group.told_json(told)
    return run if run is not None else FollowedRun(about)
