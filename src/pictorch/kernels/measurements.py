"""What was measured of a build of the kernels, kept in the user's cache; without torch."""

import json
from pathlib import Path
from typing import Any

from pictorch.durable import write_json
from pictorch.errors import UserError
from pictorch.kernels.building import cache_problem

LAYERS, NETWORKS = "layers", "networks"
OWN, LIBRARY = "own", "library"
OTHERS = "others"  # stands beside the seconds where other programs took so many of the CPUs meanwhile
_LEAST_OTHERS = 0.25  # CPUs, below which times count as those of an idle machine

# The settings of the machine -> LAYERS or NETWORKS -> what was measured -> its seconds, own and library.
Measurements = dict[str, dict[str, dict[str, dict[str, float]]]]


class Kept:
    """The measurements of one build under one kind of settings: processor, threads, torch, precision."""

    def __init__(self, folder: Path, settings: str) -> None:
        """`folder` is where they are kept, `settings` a text that is the same where times are."""
        self._folder, self._settings, self._forgets = folder, settings, False
        self._ours: dict[str, dict[str, dict[str, float]]] = read(folder).get(settings, {})
        self._new: list[dict[str, float]] = []

    @property
    def has_crowded(self) -> bool:
        """Whether some of them were taken while other programs took the CPUs."""
        return any(OTHERS in one for kind in self._ours.values() for one in kind.values())

    def forget_crowded(self) -> None:
        """Leaves out those that were taken while other programs took the CPUs, in what is saved too."""
        self._forgets = True
        self._ours = {kind: _quiet(records) for kind, records in self._ours.items()}

    def get(self, kind: str, what: str) -> dict[str, float] | None:
        """Returns the seconds that were measured, None where they were not yet."""
        found = self._ours.get(kind, {}).get(what)
        return found and {form: seconds for form, seconds in found.items() if form != OTHERS}

    def put(self, kind: str, what: str, seconds: dict[str, float]) -> None:
        """Keeps seconds until `save`."""
        self._ours.setdefault(kind, {})[what] = new = dict(seconds)
        self._new.append(new)

    def save(self, others: float = 0.0) -> str | None:
        """Writes what is new beside what others wrote; returns why not where the cache cannot be written.

        `others` is how many of this process's CPUs other programs took while it was measured. Without
        anything new nothing is written.
        """
        if not self._new:
            return None
        for record in self._new if others > _LEAST_OTHERS else ():
            record[OTHERS] = round(others, 2)
        self._new = []
        found = read(self._folder)
        theirs = found.get(self._settings, {})
        kinds = {}
        for kind in (LAYERS, NETWORKS):
            records = theirs.get(kind, {})
            kinds[kind] = {**(_quiet(records) if self._forgets else records), **self._ours.get(kind, {})}
        try:
            write_json(_path(self._folder), {**found, self._settings: kinds})
        except UserError as error:
            return cache_problem(error)
        return None


def _quiet(records: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {what: one for what, one in records.items() if OTHERS not in one}


def read(folder: Path) -> Measurements:
    """Returns all measurements that are kept in `folder`; nothing where they are damaged."""
    try:
        found: Any = json.loads(_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if _is_whole(found, depth=3) else {}


def _is_whole(found: Any, depth: int) -> bool:
    """Returns whether this is what `save` writes: seconds, below as many records."""
    if not isinstance(found, dict):
        return False
    if depth == 0:
        return {OWN, LIBRARY} <= found.keys() and all(
            isinstance(one, float) and one > 0 for one in found.values()
        )
    return all(_is_whole(one, depth - 1) for one in found.values())


def _path(folder: Path) -> Path:
    return folder / "measurements.json"
