"""A list of images as a source: a text list or a CSV file that says path and label of each image.

A path is relative to the list's own folder or to a root, or absolute; `\\` stands for `/` where no file
has it in its name. Relative paths stay inside that folder. Links are followed wherever they lead: whoever
made them may.
"""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pictorch.datasets.contents import Contents, Pictures, Skipped, Source
from pictorch.datasets.findings import Finding
from pictorch.datasets.image_folder import read_file
from pictorch.datasets.list_findings import PARTS, class_findings, group_findings, line_finding
from pictorch.datasets.list_lines import ENCODINGS, Line, Lines, Problem, read_lines
from pictorch.errors import DataError
from pictorch.images import shown

LIST_ENDINGS = (".txt", ".lst", ".list", ".csv", ".tsv")


class _File(NamedTuple):
    path: str  # as it is shown
    size_bytes: int
    time_ns: int


class _Entry(NamedTuple):
    line: Line
    file: _File


def open_list(path: Path, root: str | None, on_bad: str) -> Source:
    """Returns the images of a list as a source; raises DataError where list or root cannot be read.

    With `on_bad` 'skip', lines that cannot be used are left out and told of; else they are an error.
    """
    start = path.parent if root is None else Path(root).expanduser()
    if not start.is_dir():
        raise DataError(f"data.root: {start} is no folder; give the one that the paths in {path} start from")
    try:
        data = read_file(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    read, entries, problems = _read(data, path, str(start), ENCODINGS)
    if problems and not data.isascii():  # a few words in GBK may happen to be UTF-8
        again = _read(data, path, str(start), ENCODINGS[1:])
        if not again[0].faults and len(again[2]) < len(problems):
            read, entries, problems = again
    stamp = hashlib.sha256(f"list {path.suffix} {start.resolve()}\n".encode(errors="surrogateescape"))
    stamp.update(hashlib.sha256(data).digest())
    for line, file in entries:  # with the list and its root they say which file it is, however spelled
        facts = f"{line.number}\0{os.path.basename(file.path)}\0{file.size_bytes}\0{file.time_ns}\n"
        stamp.update(facts.encode(errors="surrogateescape"))
    usable = [entry for entry in entries if entry.line.number not in problems]
    wrong = [problems[number] for number in sorted(problems)]
    contents = _contents(path, read, usable, wrong, skip=on_bad == "skip")
    return Source(f"list {path}", stamp.hexdigest(), lambda: nullcontext(contents))


def _read(
    data: bytes, path: Path, start: str, encodings: Sequence[str]
) -> tuple[Lines, list[_Entry], dict[int, Problem]]:
    """Returns the lines, those whose file is there, and by number why others cannot be used."""
    read = read_lines(data, str(path), path.suffix.casefold(), encodings)
    entries, problems = _look_up(read.lines, start)
    return read, entries, problems | {problem.number: problem for problem in read.problems}


def _look_up(lines: Sequence[Line], start: str) -> tuple[list[_Entry], dict[int, Problem]]:
    """Returns the lines with their files, and by number those whose path is not that of an image alone."""
    entries, problems = [], {}
    first: dict[str, Line] = {}
    for line in lines:
        found = _find(line.path, start)
        if not isinstance(found, _File):
            problems[line.number] = Problem(line.number, line.text, *found)
            continue
        entries.append(_Entry(line, found))
        earlier = first.setdefault(os.path.abspath(found.path), line)
        if earlier is line:
            continue
        for one, other in ((line, earlier), (earlier, line)):
            if one.label != other.label:  # which of the two is right nobody knows
                reason = (
                    f"is {shown(one.label)[:30]} here and {shown(other.label)[:30]} on line {other.number}"
                )
                problems.setdefault(
                    one.number, Problem(one.number, one.text, reason, "remove the line with the wrong label")
                )
            elif one is line:
                reason = f"the image of line {other.number} again"
                problems[one.number] = Problem(one.number, one.text, reason, "remove one of the two")
    return entries, problems


def _find(path: str, start: str) -> _File | tuple[str, str]:
    """Returns the file of a path, else the reason why there is none and what to do."""
    leaves = False
    for spelled in dict.fromkeys((path, path.strip(), path.strip().strip('"').replace("\\", "/"))):
        if not os.path.isabs(spelled) and os.path.normpath(spelled).split("/")[0] == "..":
            leaves = True
            continue
        file = os.path.normpath(os.path.join(start, spelled))
        try:
            facts = os.stat(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        except OSError as error:
            return f"cannot be read ({error.strerror})", "check the path and its rights"
        if not stat.S_ISREG(facts.st_mode):
            return "is no regular file", "give the path of an image"
        return _File(file, facts.st_size, facts.st_mtime_ns)
    if leaves:
        return (
            f"leaves the folder {os.path.abspath(start)}",
            "write the whole path, or set data.root to a folder above",
        )
    if os.path.isabs(path):
        return "no such file", "mend the path"
    remedy = "mend the path, set data.root to the folder that paths start from, or put the list there"
    return f"no such file in {os.path.abspath(start)}", remedy


def _contents(
    path: Path, read: Lines, usable: list[_Entry], problems: list[Problem], *, skip: bool
) -> Contents:
    findings = list(read.faults)
    remarks = [] if read.encoding == "UTF-8" else [f"the list is read as {read.encoding}"]
    if read.encoding == "GB18030":  # nothing in the file says so
        what = f"{path} is no UTF-8, it is read as GB18030"
        findings.append(Finding("info", what, "save it as UTF-8 if class names look wrong"))
    skipped: tuple[Skipped, ...] = ()
    if problems:
        findings.append(line_finding(path, read, problems, is_error=not (skip and usable)))
    elif not usable and not findings:
        findings.append(Finding("error", f"{path} names no images", "write a line path,label for each"))
    if skip and problems:
        counts = f"{len(problems):,} of {read.total:,} lines"
        remarks.append(f"{counts} cannot be used and are skipped, first {problems[0]}")
        skipped = tuple(
            Skipped(f"{path}, line {one.number}: {shown(one.text)}", one.reason) for one in problems
        )
    lines = [entry.line for entry in usable] if skip else read.lines
    if lines:
        findings += class_findings(path, lines, read.lines) + group_findings(path, lines)
    names = _ordered({entry.line.label for entry in usable})
    label_of = {name: label for label, name in enumerate(names)}
    group_of: dict[str | int, int] | None = None
    if any(entry.line.group for entry in usable):
        group_of = {}
        for entry in usable:
            group_of.setdefault(entry.line.group_key, len(group_of))
    chosen = {part: [entry for entry in usable if entry.line.split == part] for part in PARTS}
    parts = {
        part: _pictures(entries, label_of, group_of)
        for part, entries in chosen.items()
        if entries or part == "train"
    }
    return Contents(names, parts, tuple(remarks), tuple(findings), skipped)


def _pictures(
    entries: list[_Entry], label_of: dict[str, int], group_of: dict[str | int, int] | None
) -> Pictures:
    files = [entry.file.path for entry in entries]
    groups = None if group_of is None else [group_of[entry.line.group_key] for entry in entries]
    return Pictures(
        names=files,
        labels=np.array([label_of[entry.line.label] for entry in entries], dtype=np.int64),
        read=lambda row: read_file(Path(files[row])),
        groups=None if groups is None else np.array(groups, dtype=np.int64),
    )


def _ordered(names: set[str]) -> tuple[str, ...]:
    """Returns class names by code point, or by number where all are integers."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
