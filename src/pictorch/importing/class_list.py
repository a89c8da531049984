"""The names of a foreign model's classes: a text file of lines, a JSON list, or a list in Python."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pictorch.errors import DataError, unreadable
from pictorch.images import shown

FEWEST_CLASSES = 2


def class_list(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Returns the names in the order of the model's outputs.

    A file holds a name a line, in UTF-8, or where its name ends in .json a list of names. Raises DataError
    for a file that cannot be read, and for names that are missing, there twice or fewer than FEWEST_CLASSES.
    """
    if isinstance(classes, str | Path):
        where = shown(str(classes))
        names = _read(Path(classes), where)
    else:
        where, names = "classes", list(classes)
    known = set[str]()
    for place, name in enumerate(names, start=1):
        if name in known:
            raise DataError(f"{where} names {name!r} twice, as {place}. class too; give each its own name")
        known.add(name)
    if len(names) < FEWEST_CLASSES:
        raise DataError(f"{where} names {len(names)} of at least {FEWEST_CLASSES} classes; add the others")
    return tuple(names)


def _read(path: Path, where: str) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{where} {unreadable(path, error)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 (at byte {error.start:,}); save it as UTF-8") from None
    names: list[Any]
    if path.suffix.lower() == ".json":
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = []
        if not isinstance(names, list) or not names:
            raise DataError(f'{where} is not a JSON list of names; write it as ["cat", "dog"]')
    else:
        names = [line.strip() for line in text.strip().split("\n")]
    for place, name in enumerate(names, start=1):
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: the {place}. class has no name; write one for each output")
    return names
