"""Rows of predictions as lines of JSON and, for a file of them, as CSV, JSON lines or Parquet.

A row is {row, source, classes} or {row, source, error}, `row` the place of the image among all.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO, Protocol

Record = Mapping[str, Any]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes the beginning of a formula for
_GROUP_ROWS, _GROUP_CELLS = 512, 2**17  # of Parquet that are in memory at a time, the larger of the two


class Answer(Protocol):
    """What is said of an image, or why nothing is."""

    def to_json(self) -> dict[str, Any]:
        """Returns the source with its classes or its error."""


@dataclass(frozen=True)
class Rows:
    """Rows that are ready to be written: their lines of JSON, and what CSV has of them."""

    lines: str
    csv: bytes
    count: int
    refused: int


Add = Callable[[Rows], object]


@dataclass(frozen=True)
class RowFormat:
    """How answers become rows of a file with this suffix.

    A table has columns for `columns` classes. `first` is the place of the first image, and `step` what lies
    between two.
    """

    suffix: str
    columns: int
    first: int
    step: int

    def rows(self, number: int, answers: Iterable[Answer]) -> Rows:
        """Returns the rows of answers, the first of which is that to image `number` from 0."""
        places = count(self.first + number * self.step, self.step)
        records = [{"row": place, **answer.to_json()} for place, answer in zip(places, answers, strict=False)]
        return self.read("\n".join(map(json.dumps, records)), records)

    def read(self, lines: str, records: Sequence[Record]) -> Rows:
        """Returns the rows whose JSON is `lines`."""
        refused = sum("error" in record for record in records)
        table = _csv(records, self.columns) if self.suffix == ".csv" else b""
        return Rows(lines, table, len(records), refused)

    def writer(self, target: BinaryIO) -> AbstractContextManager[Add]:
        """Opens a file, which is whole on leaving, and yields what adds rows to it."""
        return _WRITERS[self.suffix](target, self.columns)


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


@contextmanager
def _csv_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    target.write(_csv_bytes([["row", *head(columns)]]))
    yield lambda rows: target.write(rows.csv)


def _csv(records: Iterable[Record], columns: int) -> bytes:
    rows = ((record["row"], *cells(record, columns)) for record in records)
    return _csv_bytes([row, plain_name(source), *others] for row, source, *others in rows)


def _csv_bytes(rows: Iterable[list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")  # what of a name is no UTF-8


@contextmanager
def _jsonl_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    yield lambda rows: target.write(f"{rows.lines}\n".encode())


@contextmanager
def _parquet_writer(target: BinaryIO, columns: int) -> Iterator[Add]:
    import pyarrow
    from pyarrow import parquet

    pairs = [kind for _ in range(columns) for kind in (pyarrow.string(), pyarrow.float64())]
    kinds = [pyarrow.int64(), pyarrow.string(), *pairs, pyarrow.string()]
    schema = pyarrow.schema(list(zip(["row", *head(columns)], kinds, strict=True)))
    group_rows = max(_GROUP_ROWS, _GROUP_CELLS // len(kinds))
    waiting: list[list[Any]] = []
    with parquet.ParquetWriter(target, schema) as writer:

        def write_group() -> None:
            arrays = [
                pyarrow.array(map(_utf8, column), kind)
                for column, kind in zip(zip(*waiting, strict=True), kinds, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            waiting.clear()

        def add(rows: Rows) -> None:
            records = map(json.loads, rows.lines.splitlines())
            waiting.extend([record["row"], *cells(record, columns)] for record in records)
            if len(waiting) >= group_rows:
                write_group()

        yield add
        if waiting:
            write_group()


def _utf8(cell: Any) -> Any:
    """Returns a cell whose text is UTF-8; what of a name is none is escaped."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


_WRITERS = {".csv": _csv_writer, ".jsonl": _jsonl_writer, ".parquet": _parquet_writer}
SUFFIXES = tuple(_WRITERS)
