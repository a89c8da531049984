"""Where data is looked for by name, and where pictorch keeps what it can make again."""

import os
from pathlib import Path

from pictorch.errors import DataError


def cache_folder() -> Path:
    """Returns `$XDG_CACHE_HOME/pictorch`, or `~/.cache/pictorch`; nothing is created."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given else Path.home() / ".cache") / "pictorch"


def download_folder() -> Path:
    """Returns the folder in the cache that downloads go to and are found in."""
    return cache_folder() / "data"


def named_folder() -> Path | None:
    """Returns the folder that $PICTORCH_DATA names; raises DataError when it is not there."""
    given = os.environ.get("PICTORCH_DATA", "")
    if given and not Path(given).exists():
        raise DataError(
            f"PICTORCH_DATA={given} does not exist; correct it, or unset it with `unset PICTORCH_DATA`"
        )
    return Path(given) if given else None


def data_folders() -> list[Path]:
    """Returns the folders in which a name is looked for, in this order."""
    named = named_folder()
    return [*([named] if named else []), Path("data"), download_folder()]
