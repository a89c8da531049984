"""Findings about classes: too few images, unequal numbers, and the same image more than once."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from pictorch.datasets.contents import Contents
from pictorch.datasets.file_findings import images
from pictorch.datasets.findings import Finding
from pictorch.datasets.survey import Survey
from pictorch.errors import listed
from pictorch.formats import percent
from pictorch.images import shown

_FEW = 10
_IMBALANCE = 10
_LARGEST_LEAK = 0.01  # share of the test images that training may have seen

# part, row and class of one image
_Place = tuple[str, int, int]


def class_findings(contents: Contents) -> list[Finding]:
    """Returns classes with too few images, strong imbalance, and names that are nearly the same."""
    names = [shown(name) for name in contents.class_names]
    findings = []
    for part, pictures in contents.parts.items():
        counts = dict(zip(names, np.bincount(pictures.labels, minlength=len(names)).tolist(), strict=True))
        if part == "train":
            findings += _sizes(counts)
        few = [f"{name} ({count})" for name, count in counts.items() if 1 < count < _FEW]
        if few:
            what = f"classes with fewer than {_FEW} images in {part}: {listed(few)}"
            findings.append(Finding("warning", what, "add images: so few decide nothing"))
    alike = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFKC", name).casefold().strip()].append(name)
    doubles = [" = ".join(repr(name) for name in group) for group in alike.values() if len(group) > 1]
    if doubles:
        what = f"class names that are nearly the same: {listed(doubles)}"
        findings.append(Finding("warning", what, "join their folders if they are one class"))
    return findings


def _sizes(counts: dict[str, int]) -> list[Finding]:
    findings = []
    single = [name for name, count in counts.items() if count == 1]
    if single:
        what = f"classes with a single image in train: {listed(single)}"
        findings.append(Finding("error", what, "add images, or remove these classes"))
    present = {name: count for name, count in counts.items() if count}
    if present and max(present.values()) >= _IMBALANCE * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        share = percent(present[most] / sum(present.values()), 1)
        what = (
            f"strong imbalance in train: {most} has {present[most]:,} images, {least} {present[least]:,}; "
            f"to answer {most} always is right in {share}"
        )
        findings.append(Finding("warning", what, "add images of the rare classes; look at macro F1"))
    return findings


def duplicate_findings(contents: Contents, survey: Survey) -> list[Finding]:
    """Returns images whose decoded pixels are equal: under two classes, across parts, within a part."""
    groups = list(_groups(contents, survey))
    conflicts = [group for group in groups if len({label for _, _, label in group}) > 1]
    findings = []
    if conflicts:
        what = f"{images(sum(map(len, conflicts)))} with the pixels of an image of another class"
        where = tuple(_shown(contents, group, with_class=True) for group in conflicts)
        findings.append(Finding("warning", what, "keep each under its right class only", where))
    parts = list(contents.parts)
    for earlier, later in [(a, b) for b in reversed(parts) for a in parts[: parts.index(b)]]:
        findings += _across(contents, groups, earlier, later)
    for part in parts:
        within = [[place for place in group if place[0] == part] for group in groups]
        doubles = [group for group in within if len(group) > 1]
        if doubles:
            extra = sum(len(group) - 1 for group in doubles)
            what = f"{images(extra)} in {part} with the pixels of another one there"
            remedy = "remove the copies" + (
                ": val and test are taken from train, and may get one of two" if parts == ["train"] else ""
            )
            where = tuple(_shown(contents, group) for group in doubles)
            findings.append(Finding("warning", what, remedy, where))
    return findings


def _across(contents: Contents, groups: list[list[_Place]], earlier: str, later: str) -> list[Finding]:
    shared = [group for group in groups if {earlier, later} <= {part for part, _, _ in group}]
    if not shared:
        return []
    count = sum(part == later for group in shared for part, _, _ in group)
    total = len(contents.parts[later])
    share = count / total
    what = (
        f"{count:,} of {images(total)} in {later} are in {earlier} too ({percent(share)}): knowing them "
        f"by heart lifts accuracy on {later} by up to {share * 100:.2f} points"
    )
    is_error = earlier == "train" and later == "test" and share > _LARGEST_LEAK
    where = tuple(_shown(contents, group) for group in shared)
    return [Finding("error" if is_error else "warning", what, f"remove them from {earlier}", where)]


def _groups(contents: Contents, survey: Survey) -> Iterator[list[_Place]]:
    """Yields the places of equal images, two or more at a time, in the order of the source."""
    places: dict[bytes, list[_Place]] = defaultdict(list)
    for part, pictures in contents.parts.items():
        labels = pictures.labels.tolist()
        for row, facts in enumerate(survey[part].files()):
            if facts.width and not facts.one_color:
                places[facts.pixels].append((part, row, labels[row]))
    return (group for group in places.values() if len(group) > 1)


def _shown(contents: Contents, group: list[_Place], *, with_class: bool = False) -> str:
    return " = ".join(
        shown(contents.parts[part].names[row])
        + (f" ({shown(contents.class_names[label])})" if with_class else "")
        for part, row, label in group
    )
