"""What was measured of a build of the kernels, kept beside it in the user's cache; without torch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pictorch.durable import write_json
from pictorch.errors import UserError

LAYERS, NETWORKS = "layers", "networks"
OWN, LIBRARY = "own", "library"

# The settings of the machine -> LAYERS or NETWORKS -> what was measured -> its seconds, own and library.
Measurements = dict[str, dict[str, dict[str, dict[str, float]]]]


class Kept:
    """The measurements of one build under one kind of settings: processor, threads, torch, precision."""

    def __init__(self, library: Path, settings: str) -> None:
        """`library` is the compiled one, `settings` a text that is the same where times are."""
        self._folder, self._settings = library.parent, settings
        self._ours: dict[str, dict[str, dict[str, float]]] = read(self._folder).get(settings, {})

    def get(self, kind: str, what: str) -> dict[str, float] | None:
        """Returns the seconds that were measured, None where they were not yet."""
        return self._ours.get(kind, {}).get(what)

    def put(self, kind: str, what: str, seconds: dict[str, float]) -> None:
        """Keeps seconds until `save`."""
        self._ours.setdefault(kind, {})[what] = seconds

    def save(self) -> None:
        """Writes all, beside what others wrote; a cache that cannot be written is measured anew."""
        found = read(self._folder)
        theirs = found.get(self._settings, {})
        kinds = {kind: {**theirs.get(kind, {}), **self._ours.get(kind, {})} for kind in (LAYERS, NETWORKS)}
        with suppress(UserError):
            write_json(_path(self._folder), {**found, self._settings: kinds})


def read(folder: Path) -> Measurements:
    """Returns all measurements of a build that lies in `folder`; nothing where they are damaged."""
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
