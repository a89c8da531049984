"""Predictions of many images in a CSV, JSON lines or Parquet file, which a stopped call goes on with.

Until it is finished its rows lie beside it in `<name>.unfinished`, a JSON object a line, and `<name>.json`
says what they are of. The file itself, written at the same time, appears at the end, and `<name>.json` counts
its rows.
"""

import fcntl
import json
import os
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from pictorch import durable, notebook
from pictorch.errors import DataError, MissingPartError, RecipeError, RunInUseError
from pictorch.images import shown
from pictorch.predictor.image_inputs import Given
from pictorch.predictor.prediction_rows import SUFFIXES, Add, RowFormat, Rows
from pictorch.predictor.shard import Shard

_SYNCED_ROWS = 512  # so many are answered again after a stop by force
_SHOWN_SECONDS = 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PredictionFile:
    """A finished file of predictions: its rows, those of them that only tell why there is no answer, and how
    many stood there already when this call began.
    """

    path: Path
    rows: int
    refused: int
    rows_before: int

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `predict --out FILE --json` prints it."""
        return {**vars(self), "path": str(self.path)}

    def _repr_html_(self) -> str:
        return notebook.card("Predictions", notebook.facts(self.to_json()))


def check_name(path: Path) -> None:
    """Raises RecipeError for a file of no kind that can be written, MissingPartError without pyarrow."""
    if path.suffix not in SUFFIXES:
        raise RecipeError(
            f"--out {path} ends in none of {', '.join(SUFFIXES)}; "
            f"give `--out {shlex.quote(str(path.with_suffix('.csv')))}`"
        )
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingPartError("parquet", "pyarrow")


def write_predictions(
    path: Path,
    facts: dict[str, Any],
    images: Iterator[Given],
    answers: Callable[[Iterable[Given], RowFormat], Generator[Rows, None, None]],
    *,
    shard: Shard,
    columns: int,
    progress: Progress,
) -> PredictionFile:
    """Writes a row for each image and returns what the file holds; rows that are there already are kept.

    A row is {row, source, classes} or {row, source, error}, `row` the place of the image among those of all
    shards; CSV and Parquet have columns for as many classes as `columns` says. `facts` is what the rows
    follow from, as JSON. Raises RecipeError where the file is there with other facts, DataError where the
    images are others than when it was begun, RunInUseError while another process writes it, ResourceError.
    """
    whole = RowFormat(path.suffix, columns, shard.place(0), shard.count)
    record, rows_path = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.unfinished")
    facts = {**facts, "shard": str(shard)}
    if (finished := _finished(path, record, rows_path, facts)) is not None:
        progress(f"{path} is finished already")
        return finished
    with _opened(path, rows_path) as file:
        # Another process may have begun or finished it until now.
        if (finished := _finished(path, record, rows_path, facts)) is not None:
            return finished
        try:
            if not record.exists():
                durable.write_json(record, facts)
            with durable.new_file(path) as target, whole.writer(target) as add:
                before, refused = _skip_rows(file, rows_path, images, path, whole, add)
                if before:
                    progress(f"going on behind the {before:,} rows that are there")
                rest = replace(whole, first=shard.place(before))
                with closing(answers(images, rest)) as found:
                    rows, refused = _append(rows_path, found, (before, refused), add, progress)
        except BaseException:
            if file.seek(0, os.SEEK_END) == 0:  # nothing to go on with
                rows_path.unlink(missing_ok=True)
                record.unlink(missing_ok=True)
            raise
        durable.write_json(record, {**facts, "rows": rows, "refused": refused})
        rows_path.unlink()
    return PredictionFile(path, rows, refused, before)


def _finished(path: Path, record: Path, rows_path: Path, facts: dict[str, Any]) -> PredictionFile | None:
    """Returns the file where it is finished; raises RecipeError where it is of something else."""
    begun = _read(record)
    if begun is None:
        if path.exists() or record.exists() or (rows_path.exists() and rows_path.stat().st_size):
            raise RecipeError(
                f"--out {path} is there, not of `pictorch predict`; remove it or choose another"
            )
        return None
    for name in facts:
        if begun.get(name) != facts[name]:
            raise RecipeError(
                f"--out {path} was begun with another {name} ({str(begun.get(name))[:80]}); give the same, "
                "or choose another --out"
            )
    if "rows" not in begun or not path.exists():
        return None
    rows_path.unlink(missing_ok=True)
    return PredictionFile(path, begun["rows"], begun["refused"], begun["rows"])


def _read(record: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "bundle_sha256" in found else None


@contextmanager
def _opened(path: Path, rows_path: Path) -> Iterator[BinaryIO]:
    with durable.explained(rows_path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with rows_path.open("a+b") as file:
            if not _is_locked(file, rows_path):
                raise RunInUseError(f"another process writes {path}; wait for it or stop it first")
            yield file


def _is_locked(file: BinaryIO, rows_path: Path) -> bool:
    """Locks the file; returns False where another process has it, or has just removed it at its end."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), rows_path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _skip_rows(
    file: BinaryIO, rows_path: Path, images: Iterator[Given], path: Path, form: RowFormat, add: Add
) -> tuple[int, int]:
    """Takes the images that have rows; returns how many they are, and how many of them tell of an error.

    What a stop by force or a loss of power left behind the last whole row is cut off.
    """
    rows = refused = whole_bytes = 0
    file.seek(0)
    for line in file:
        if (found := _row(line)) is None:
            break
        image = next(images, None)
        if image is None or found["source"] != image.name:
            raise DataError(
                f"{path}: the images are others than when it was begun (then {shown(found['source'])[:80]}); "
                f"bring them back, or remove {path.name}.unfinished and {path.name}.json to begin again"
            )
        add(form.read(line.decode().removesuffix("\n"), [found]))
        rows, refused, whole_bytes = rows + 1, refused + ("error" in found), whole_bytes + len(line)
    durable.truncate(rows_path, whole_bytes)
    return rows, refused


def _row(line: bytes) -> dict[str, Any] | None:
    """Returns a row of the unfinished file, None where it is none: torn, or never on the disk as a whole."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "source" in found else None


def _append(
    rows_path: Path, parts: Iterable[Rows], there: tuple[int, int], add: Add, progress: Progress
) -> tuple[int, int]:
    """Appends rows as they come; returns how many there are and with an error, what was there included."""
    rows, refused = there
    began = shown_at = monotonic()
    unsynced = 0
    for part in parts:
        unsynced += part.count
        durable.append_line(rows_path, part.lines, synced=unsynced >= _SYNCED_ROWS)
        unsynced %= _SYNCED_ROWS
        add(part)
        rows, refused = rows + part.count, refused + part.refused
        if monotonic() - shown_at > _SHOWN_SECONDS:
            shown_at = monotonic()
            progress(f"{rows:,} rows, {(rows - there[0]) / (shown_at - began):,.0f} images/s")
    return rows, refused
