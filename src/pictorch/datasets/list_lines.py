"""The lines of a list of images: encoding, separator, header, and what is wrong with a line by itself.

A text list has lines `path label`, with spaces, a tab or a comma between them, or `path,label,split`. A
CSV file (RFC 4180) with a header has the columns path and label, and split and group where there are such.
"""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pictorch.datasets.findings import Finding
from pictorch.datasets.layout import PARTS
from pictorch.errors import listed, nearest
from pictorch.images import shown

# By what heads of a CSV file a column is known, the first that is there.
_HEADS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "set", "subset"),
    "group": ("group", "group_id"),
}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "": "space"}
ENCODINGS = ("utf-8", "gb18030")  # which holds GBK and GB2312
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ENCODING_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "gb18030": "GB18030"}
_SHOWN_CHARACTERS = 60


class Line(NamedTuple):
    """What a line says: `split` is 'train', 'val' or 'test', `group` '' where it names none."""

    number: int
    text: str
    path: str
    label: str
    split: str
    group: str

    @property
    def group_key(self) -> str | int:
        """What is equal for images of one group; an image without a group is one of its own."""
        return self.group or self.number


class Problem(NamedTuple):
    """Why a line cannot be used, and what to do."""

    number: int
    text: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        text = shown(self.text)
        cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
        return f"line {self.number} ({cut}): {self.reason}"


@dataclass
class Lines:
    """The lines of a list that can be read, the others, and what is wrong with the list as a whole."""

    encoding: str = "UTF-8"
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The lines that are neither blank nor the header."""
        return len(self.lines) + len(self.problems)


class _Row(NamedTuple):
    number: int
    text: str
    cells: list[str]


@dataclass(frozen=True)
class _Columns:
    """Where the columns stand in a row of `count` cells; `has_header` tells the list's kind."""

    places: dict[str, int]
    count: int
    separator: str
    has_header: bool


def read_lines(data: bytes, name: str, ending: str, encodings: Sequence[str] = ENCODINGS) -> Lines:
    """Returns the lines of a list from its bytes; `ending` is that of its file, with the dot.

    A byte order mark says the encoding, or the zeros that UTF-16 has; else it is the first of `encodings`
    that the bytes are text in.
    """
    text, encoding = _decoded(data, encodings)
    if text is None:
        what = f"{name} is text in none of UTF-8, UTF-16 and GB18030"
        return Lines(faults=[Finding("error", what, "save it as UTF-8")])
    read = Lines(encoding)
    physical = [line for line in io.StringIO(text, newline="") if line.strip()]
    if not physical:
        return read
    columns = _header(physical[0], ending)
    if isinstance(columns, str):
        what = (
            f"{name}, line 1 ({shown(physical[0].strip()[:_SHOWN_CHARACTERS])}) is a header without {columns}"
        )
        remedy = "call the columns path and label, and split and group where there are such"
        read.faults.append(Finding("error", what, remedy))
        return read
    separator = columns.separator if columns else _separator(physical, ending)
    rows, broken = _rows(text, separator)
    if broken:
        what = f"{name}, line {broken[0]}: its quotes do not close ({broken[1]})"
        read.faults.append(
            Finding("error", what, "put a field with quotes in quotes, and double those in it")
        )
    if columns:
        rows = rows[1:]
    else:
        columns = _without_header(rows, separator)
    for row in rows:
        line = _line(row, columns)
        if isinstance(line, Line):
            read.lines.append(line)
        else:
            read.problems.append(line)
    return read


def _decoded(data: bytes, encodings: Sequence[str]) -> tuple[str | None, str]:
    """Returns the text and the name of its encoding, None where it is text in none."""
    marked = [encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if data.startswith(mark)]
    if not marked and 8 * data.count(0) > len(data):  # UTF-16 without its mark: no text has zeros
        marked = ["utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"]
    for encoding in marked or encodings:
        try:
            return data.decode(encoding), _ENCODING_NAMES.get(encoding, "UTF-16")
        except UnicodeDecodeError:
            continue
    return None, ""


def _header(first: str, ending: str) -> _Columns | str | None:
    """Returns the columns where the first line is a header, None where it is none, or what it lacks."""
    for separator in ("\t",) if ending == ".tsv" else (",", ";", "\t"):
        cells = [cell.strip().casefold() for cell in first.strip().split(separator)]
        cells = [cell.strip('"') for cell in cells]
        places = {
            column: cells.index(head)
            for column, heads in _HEADS.items()
            for head in [next((head for head in heads if head in cells), None)]
            if head is not None
        }
        if {"path", "label"} <= places.keys():
            return _Columns(places, len(cells), separator, has_header=True)
        # Files have endings and folders, and labels may be numbers: with such it is a line like the others.
        is_data = any(mark in first for mark in "./\\") or any(cell.isdigit() for cell in cells)
        if not is_data and (ending in (".csv", ".tsv") or places) and len(cells) > 1:
            return " and ".join(f"a column {name}" for name in ("path", "label") if name not in places)
    match first.casefold().split():
        case [path, label] if path in _HEADS["path"] and label in _HEADS["label"]:
            return _Columns({"path": 0, "label": 1}, 2, "", has_header=True)
    return None


def _separator(lines: Sequence[str], ending: str) -> str:
    """Returns what separates the columns of most lines, '' for spaces."""
    often = [mark for mark in "\t,;" if 2 * sum(mark in line for line in lines) > len(lines)]
    if ending == ".tsv":
        return "\t"
    return often[0] if often else "," if ending == ".csv" else ""


def _rows(text: str, separator: str) -> tuple[list[_Row], tuple[int, str] | None]:
    """Returns the rows that are not blank, and the line where quotes go wrong, with the reason."""
    lines = io.StringIO(text, newline="")  # as the csv module wants it: \n, \r\n and \r end lines
    if not separator:
        whole = [(number, line.rstrip("\r\n")) for number, line in enumerate(lines, 1) if line.strip()]
        return [_Row(number, line, line.rstrip().rsplit(None, 1)) for number, line in whole], None
    raw: list[str] = []

    def kept() -> Iterator[str]:
        for line in lines:
            raw.append(line)
            yield line

    rows = []
    reader = csv.reader(kept(), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                number = reader.line_num - len(raw) + 1
                rows.append(_Row(number, "".join(raw).rstrip("\r\n"), cells))
            raw.clear()
    except csv.Error as error:
        return rows, (reader.line_num - len(raw) + 1, str(error))
    return rows, None


def _without_header(rows: Sequence[_Row], separator: str) -> _Columns:
    """Returns path, label and, where most lines have a third column, split."""
    if separator and 2 * Counter(len(row.cells) for row in rows)[3] > len(rows):
        return _Columns({"path": 0, "label": 1, "split": 2}, 3, separator, has_header=False)
    return _Columns({"path": 0, "label": 1}, 2, separator, has_header=False)


def _line(row: _Row, columns: _Columns) -> Line | Problem:
    number, text, cells = row
    while len(cells) > columns.count and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != columns.count:
        return Problem(number, text, *_wrong_count(len(cells), columns))
    path, label, split, group = (
        cells[columns.places[name]] if name in columns.places else "" for name in _HEADS
    )
    if not path.strip():
        return Problem(number, text, "no path", "give it one, or remove the line")
    if not label.strip():
        return Problem(number, text, "no label", "give it one, or remove the line")
    part = PARTS.get(split.strip().casefold()) if "split" in columns.places else "train"
    if part is None:
        word = shown(split.strip())[:30]
        reason = f"unknown split {word!r}{nearest(word, PARTS)}" if word else "no split"
        return Problem(number, text, reason, "write train, val or test")
    return Line(number, text, path, label.strip(), part, group.strip())


def _wrong_count(count: int, columns: _Columns) -> tuple[str, str]:
    """Returns the reason and the remedy of a line with another number of columns."""
    if count == 1 and not columns.has_header:
        return f"no {_SEPARATORS[columns.separator]} between path and label", "use one separator throughout"
    rest = "the header has" if columns.has_header else "most lines have"
    named = listed(columns.places)
    remedy = f"give {named}" if count < columns.count else "put what holds a separator in double quotes"
    return f"{count} column{'s' if count > 1 else ''}, {rest} {columns.count}", remedy
