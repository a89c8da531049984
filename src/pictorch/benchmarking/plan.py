"""The folder of a comparison: its settings, kept so that a second call goes on with the same."""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pictorch import durable
from pictorch.datasets.sources import SOURCES
from pictorch.errors import RecipeError
from pictorch.formats import plain
from pictorch.recipe.files import Overrides
from pictorch.run_folder import RunFolder
from pictorch.run_records import read_json

_PLAN = "plan.json"


def read_plan(out: str | Path | None, kind: str) -> dict[str, Any]:
    """Returns the settings that the comparison at `out` was begun with, none where there is nothing yet.

    Raises RecipeError where something else lies there.
    """
    folder = Path(out) if out is not None else None
    if folder is None or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    plan = read_json(folder / _PLAN) if (folder / _PLAN).is_file() else {}
    if plan.pop("kind", None) != kind:
        raise RecipeError(f"--out {out} is not empty and no folder of `bench {kind}`; choose another --out")
    return plan


def settled(
    plan: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    may_change: Collection[str],
    out: str | Path | None,
    places: Collection[str] = (),
) -> dict[str, Any]:
    """Returns the settings: what is given, else what the plan has, else the default.

    Raises RecipeError where a number is below 1, or something is given that differs from the plan and is
    not in `may_change`. `places` are arguments that have no flag.
    """
    settings = {**defaults, **plan, **{key: value for key, value in given.items() if value is not None}}
    for key in ("seeds", "steps", "epochs"):
        if settings.get(key) is not None and settings[key] < 1:
            raise RecipeError(f"--{key} {settings[key]} leaves nothing to measure; give at least 1")
    for key in plan:
        if settings[key] != plan[key] and key not in may_change:
            name = key.upper() if key in places else f"--{key}"
            raise RecipeError(
                f"{name} {plain(settings[key])}: {out} was begun with {plain(plan[key])}; "
                f"leave out {name}, or choose another --out"
            )
    return settings


def write_plan(out: str | Path | None, kind: str, settings: Mapping[str, Any]) -> Path:
    """Returns the folder of the comparison, `runs/<kind>-<NNN>` where `out` is None, with its plan in it."""
    folder = Path(out) if out is not None else RunFolder.create(None, kind).path
    durable.write_json(folder / _PLAN, {"kind": kind, **settings})
    return folder


def source_of(data: str | Path | None) -> str | None:
    """Returns what --data names, a path from the root on."""
    if data is None or str(data) in SOURCES or not Path(data).expanduser().exists():
        return None if data is None else str(data)
    return str(Path(data).expanduser().resolve())


def changes_of(overrides: Overrides) -> list[str] | None:
    """Returns overrides as 'section.key=value' words, None where there are none."""
    pairs = overrides.items() if isinstance(overrides, Mapping) else overrides
    return [pair if isinstance(pair, str) else f"{pair[0]}={plain(pair[1])}" for pair in pairs] or None


def command(kind: str, settings: Mapping[str, Any], *places: str) -> str:
    """Returns the command that measures the same elsewhere; of a path of images it has the last part.

    `places` are its arguments that have no flag.
    """
    words = ["pictorch", "bench", kind, *places]
    for key, value in settings.items():
        values = (value or []) if key == "set" else [",".join(value) if isinstance(value, list) else value]
        for one in values:
            if one is not None:
                words += [f"--{key}", Path(one).name if key == "data" else str(one)]
    return shlex.join(words)
