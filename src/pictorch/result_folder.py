"""Folders for results: the one that --out names, or the next free number below a parent."""

import re
from pathlib import Path

from pictorch import durable
from pictorch.errors import RecipeError


def empty_folder(out: str | Path | None, parent: Path, stem: str) -> Path:
    """Makes the folder `out`, or `parent/<stem>-<NNN>` with the first free number.

    Raises RecipeError when `out` holds something, ResourceError when it cannot be made.
    """
    if out is None:
        return numbered_folder(parent, stem)
    path = Path(out)
    with durable.explained(path):
        if path.is_dir() and any(path.iterdir()):
            raise RecipeError(f"--out {path} is not empty; choose another --out")
        path.mkdir(parents=True, exist_ok=True)
    return path


def numbered_folder(parent: Path, stem: str) -> Path:
    """Makes `parent/<stem>-<NNN>` with the next number; raises ResourceError when it cannot be made."""
    with durable.explained(parent):
        parent.mkdir(exist_ok=True)
        ends = (entry.name.removeprefix(stem) for entry in parent.glob(f"{stem}-*"))
        number = 1 + max((int(end[1:]) for end in ends if re.fullmatch(r"-\d{3,}", end)), default=0)
        while True:
            try:
                path = parent / f"{stem}-{number:03d}"
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
