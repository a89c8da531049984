"""How records are read: JSON, lines of it, and arrays; what was changed by hand is refused in one line."""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.errors import CheckpointError, unreadable

_PUT_BACK = "put the file back from a copy, or train again into a new --out"


_NUMBER = (int, float)
_MAYBE = (*_NUMBER, type(None))

# What the keys of a run's records hold, wherever they stand.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "source", "origin", "fingerprint"), (str,)),
    **dict.fromkeys(("recipe", "stopped_by"), (str, type(None))),
    **dict.fromkeys(("segments", "class_names", "skipped"), (list,)),
    **dict.fromkeys(("network", "counts", "class_counts", "input"), (dict,)),
    **dict.fromkeys(("epoch", "test_openings"), (int,)),
    **dict.fromkeys(("finished_epoch", "step", "peak_memory_bytes"), (int, type(None))),
    **dict.fromkeys(("lr", "accuracy", "seconds", "train_seconds", "images_per_second"), _NUMBER),
    **dict.fromkeys(("loss", "train_loss", "train_accuracy"), _NUMBER),
    **dict.fromkeys(("val_loss", "val_accuracy", "gradient_norm"), _MAYBE),
    **dict.fromkeys(("val_classes", "weights"), (dict, type(None))),
    "best": (bool,),
}


class _Record(dict[str, Any]):
    """A JSON object of a run folder; asking for what it lacks is the error of whoever changed the file.

    Raises ValueError where a key holds something else than pictorch writes there.
    """

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._path = path
        for key, value in self.items():
            is_odd = isinstance(value, float) and not math.isfinite(value)
            if is_odd or type(value) not in _KINDS.get(key, (type(value),)):
                raise ValueError(f"{key!r} is {json.dumps(value)[:40]}")

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self._path} has no {key!r}, so it was changed by hand; {_PUT_BACK}")


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; raises CheckpointError."""
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            return _Record(path, value)
    except OSError as error:
        raise CheckpointError(f"{path} {unreadable(path, error)}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {_PUT_BACK}") from None
    raise CheckpointError(f"{path} is not what pictorch wrote; {_PUT_BACK}")


def read_lines(path: Path, *, holding: bytes = b"") -> list[dict[str, Any]]:
    """Returns the whole lines of a file of JSON lines that hold some bytes; raises CheckpointError."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    try:
        return [_Record(path, json.loads(line)) for line in whole.splitlines() if holding in line]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {_PUT_BACK}") from None


def best_epoch(epochs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the record of the epoch that validation chose, None where nothing was validated."""
    return next((epoch for epoch in reversed(epochs) if epoch["best"]), None)


def epochs_planned(facts: Mapping[str, Any]) -> int:
    """Returns the epoch where training ends when nothing stops it, added segments included."""
    last = facts["segments"][-1]
    end: float = last["first_epoch"] + last["epochs"]
    return math.ceil(end)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the arrays of an .npz file, none where it is not there; raises CheckpointError."""
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it, the rest can do without") from None


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Returns the arrays as the bytes of a compressed .npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
