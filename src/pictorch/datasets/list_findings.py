"""Findings about a list of images: lines that cannot be used, and classes and groups that do not fit."""

from collections.abc import Sequence
from pathlib import Path

from pictorch.datasets.findings import Finding, TrainingFinding, differing_classes
from pictorch.datasets.list_lines import Line, Lines, Problem
from pictorch.errors import listed
from pictorch.images import shown

PARTS = ("train", "val", "test")


def line_finding(path: Path, read: Lines, problems: Sequence[Problem], *, is_error: bool) -> Finding:
    """Returns how many lines cannot be used, the first of them in words, and all as places."""
    read_as = "" if read.encoding == "UTF-8" else f" (read as {read.encoding})"
    counts = f"{len(problems):,} of {read.total:,} lines cannot be used"
    places = tuple(f"{problem}; {problem.remedy}" for problem in problems)
    what = f"{path}{read_as}: {counts}, first {problems[0]}"
    return Finding("error" if is_error else "warning", what, problems[0].remedy, places)


def class_findings(path: Path, lines: Sequence[Line], named: Sequence[Line]) -> list[Finding]:
    """Returns what is wrong with the classes of lines; those that are `named` must not all be lost."""
    findings: list[Finding] = []
    numbers: dict[str, dict[str, int]] = {part: {} for part in PARTS}  # of each class's first line
    for line in lines:
        numbers[line.split].setdefault(line.label, line.number)
    train = numbers["train"]
    if not train:
        remedy = "give it to most lines, or leave out the splits"
        return [TrainingFinding("error", f"{path} has no line of the split train", remedy)]
    if len(train) == 1:
        what = f"{path} has one class only ({shown(*train)[:60]}), two are needed"
        findings.append(TrainingFinding("error", what, "write lines of another class"))
    lost = {line.label for line in named if line.split == "train"} - train.keys()
    if lost:
        what = f"{path}: classes whose lines in train cannot be used: {listed(map(shown, sorted(lost)))}"
        findings.append(TrainingFinding("error", what, "mend one line of each, or remove them all"))
    for part in [part for part in ("val", "test") if numbers[part]]:
        places = {name: f" on line {number}" for name, number in numbers[part].items()}
        findings += differing_classes(str(path), part, train.keys(), places, lost)
    return findings


def group_findings(path: Path, lines: Sequence[Line]) -> list[Finding]:
    """Returns groups that several splits share, and classes that carving cannot divide."""
    first: dict[str, Line] = {}
    groups_of: dict[str, set[str | int]] = {}
    torn = []
    for line in lines:
        groups_of.setdefault(line.label, set()).add(line.group_key)
        if line.group:
            earlier = first.setdefault(line.group, line)
            if earlier.split != line.split:
                torn.append((earlier, line))
    findings = []
    if torn:
        one, other = torn[0]
        what = (
            f"{path}: group {shown(other.group)[:60]} is in {one.split} on line {one.number} and in "
            f"{other.split} on line {other.number}"
        )
        places = tuple(f"line {line.number}: group {shown(line.group)}" for _, line in torn)
        findings.append(Finding("error", what, "give all lines of a group one split", places))
    single = sorted(name for name, groups in groups_of.items() if len(groups) == 1)
    if first and single:
        what = f"classes whose images are all of one group: {listed(map(shown, single))}"
        remedy = "add groups of them: val and test are not carved from a single one, which stays in train"
        findings.append(Finding("warning", what, remedy))
    return findings
