"""Predictions of many images in a CSV, JSON lines or Parquet file, which a stopped call goes on with.

Until it is finished its rows lie beside it in `<name>.unfinished`, a JSON object a line, and `<name>.json`
says what they are of. The file itself, written at the same time, appears at the end, and `<name>.json` counts
its rows.
"""

import csv
import fcntl
import io
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, Protocol

from pictorch import durable, notebook
from pictorch.errors import DataError, MissingPartError, RecipeError, RunInUseError
from pictorch.images import shown
from pictorch.predictor.image_inputs import Given
from pictorch.predictor.shard import Shard

_SYNCED_ROWS = 512  # so many are answered again after a stop by force
_SHOWN_SECONDS = 10.0
_GROUP_CELLS = 2**17  # of Parquet that are in memory at a time
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes the beginning of a formula for

Progress = Callable[[str], None]
Record = Mapping[str, Any]
Add = Callable[[Sequence[Record], bytes], object]  # takes rows, as records and as whole lines of JSON


class Answer(Protocol):
    """What is said of an image, or why nothing is."""

    def to_json(self) -> dict[str, Any]:
        """Returns the source with its classes or its error."""


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
    if path.suffix not in _WRITERS:
        raise RecipeError(
            f"--out {path} ends in none of {', '.join(_WRITERS)}; "
            f"give `--out {shlex.quote(str(path.with_suffix('.csv')))}`"
        )
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingPartError("parquet", "pyarrow")


def write_predictions(
    path: Path,
    facts: dict[str, Any],
    images: Iterator[Given],
    answers: Callable[[Iterable[Given]], Iterator[Answer]],
    *,
    shard: Shard,
    columns: int,
    progress: Progress,
) -> PredictionFile:
    """Writes a row for each image and returns what the file holds; rows that are there already are kept.

    A row is {row, source, classes} or {row, source, error}, `row` the place of the image among those of all
    shards; CSV and Parquet have columns for as many classes as `columns` says. `facts` is what the rows
    follow from, as JSON. Raises RecipeError where the file is there with other facts, DataError where there
    is no image, or others than when it was begun, RunInUseError while another process writes it,
    ResourceError.
    """
    record, rows_path = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.unfinished")
    facts = {**facts, "shard": str(shard)}
    finished = _begin(path, record, rows_path, facts)
    if finished is not None:
        progress(f"{path} is finished already")
        return finished
    with _opened(path, rows_path) as file:
        with durable.new_file(path) as target, _WRITERS[path.suffix](target, columns) as add:
            before, refused = _skip_rows(file, rows_path, images, path, add)
            if before:
                progress(f"going on behind the {before:,} rows that are there")
            rows, refused = _append(rows_path, answers(images), shard, (before, refused), add, progress)
            if rows == 0:
                rows_path.unlink()
                record.unlink()
                raise DataError(
                    f"{path} would hold no row: shard {shard} of the images is empty; ask for fewer shards, "
                    "or give a source that holds images"
                )
        durable.write_json(record, {**facts, "rows": rows, "refused": refused})
        rows_path.unlink()
    return PredictionFile(path, rows, refused, before)


def head(columns: int) -> list[str]:
    """Returns the names of the columns of a table of predictions."""
    pairs = (
        name for number in range(1, columns + 1) for name in (f"class_{number}", f"probability_{number}")
    )
    return ["source", *pairs, "error"]


def cells(record: Record, columns: int) -> list[Any]:
    """Returns the row of a table for {source, classes} or {source, error}; None where a cell is empty."""
    pairs = [value for one in record.get("classes", ()) for value in (one["name"], one["probability"])]
    return [record["source"], *(pairs or [None] * 2 * columns), record.get("error")]


def plain_name(source: str) -> str:
    """Returns a path that no spreadsheet takes for a formula: the same, or with ./ before it."""
    return f"./{source}" if source.startswith(_FORMULAS) else source


def _begin(path: Path, record: Path, rows_path: Path, facts: dict[str, Any]) -> PredictionFile | None:
    """Writes down what the rows will be of; returns the file where it is finished."""
    begun = _read(record)
    if begun is None:
        if path.exists() or record.exists() or rows_path.exists():
            raise RecipeError(
                f"--out {path} is there, not of `pictorch predict`; remove it or choose another"
            )
        durable.write_json(record, facts)
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
    with durable.explained(rows_path), rows_path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUseError(f"another process writes {path}; wait for it or stop it first") from None
        yield file


def _skip_rows(
    file: BinaryIO, rows_path: Path, images: Iterator[Given], path: Path, add: Add
) -> tuple[int, int]:
    """Takes the images that have rows; returns how many they are, and how many of them tell of an error.

    A torn last line, of a stop by force, is cut off.
    """
    rows = refused = whole_bytes = 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        found, image = json.loads(line), next(images, None)
        if image is None or found["source"] != image.name:
            raise DataError(
                f"{path}: the images are others than when it was begun (then {shown(found['source'])[:80]}); "
                f"bring them back, or remove {path.name}.unfinished and {path.name}.json to begin again"
            )
        add([found], line)
        rows, refused, whole_bytes = rows + 1, refused + ("error" in found), whole_bytes + len(line)
    durable.truncate(rows_path, whole_bytes)
    return rows, refused


def _append(
    rows_path: Path,
    answers: Iterator[Answer],
    shard: Shard,
    there: tuple[int, int],
    add: Add,
    progress: Progress,
) -> tuple[int, int]:
    """Appends a row for each answer; returns the rows and those with an error, what was there included."""
    rows, refused = there
    began = shown_at = monotonic()
    while chunk := list(islice(answers, _SYNCED_ROWS)):
        records = [{"row": shard.place(rows + n), **answer.to_json()} for n, answer in enumerate(chunk)]
        lines = "\n".join(map(json.dumps, records))
        durable.append_line(rows_path, lines)
        add(records, f"{lines}\n".encode())
        rows, refused = rows + len(chunk), refused + sum("error" in record for record in records)
        if monotonic() - shown_at > _SHOWN_SECONDS:
            shown_at = monotonic()
            progress(f"{rows:,} rows, {(rows - there[0]) / (shown_at - began):,.0f} images/s")
    return rows, refused


@contextmanager
def _csv_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    text = io.TextIOWrapper(target, "utf-8", "surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *head(columns)])

    def add(records: Sequence[Record], lines: bytes) -> None:
        for record in records:
            named = {**record, "source": plain_name(record["source"])}
            writer.writerow([record["row"], *cells(named, columns)])

    yield add
    text.detach()


@contextmanager
def _jsonl_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    yield lambda records, lines: target.write(lines)


@contextmanager
def _parquet_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    import pyarrow
    from pyarrow import parquet

    pairs = [kind for _ in range(columns) for kind in (pyarrow.string(), pyarrow.float64())]
    kinds = [pyarrow.int64(), pyarrow.string(), *pairs, pyarrow.string()]
    schema = pyarrow.schema(list(zip(["row", *head(columns)], kinds, strict=True)))
    group_rows = max(_SYNCED_ROWS, _GROUP_CELLS // len(kinds))
    rows: list[list[Any]] = []
    with parquet.ParquetWriter(target, schema) as writer:

        def write_group() -> None:
            arrays = [
                pyarrow.array(map(_utf8, column), kind)
                for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            rows.clear()

        def add(records: Sequence[Record], lines: bytes) -> None:
            rows.extend([record["row"], *cells(record, columns)] for record in records)
            if len(rows) >= group_rows:
                write_group()

        yield add
        if rows:
            write_group()


def _utf8(cell: Any) -> Any:
    """Returns a cell whose text is UTF-8; what of a name is none is escaped."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


_WRITERS = {".csv": _csv_writer, ".jsonl": _jsonl_writer, ".parquet": _parquet_writer}
