"""Two sources as one: training images from the first, test images from the second."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from pictorch.datasets.contents import Contents, Pictures, Source
from pictorch.datasets.findings import Finding, TrainingFinding
from pictorch.errors import listed, nearest
from pictorch.images import shown


def joined(train: Source, test: Source) -> Source:
    """Returns the parts train and val of one source with the test images of another as its test part.

    Those are the other's part test, or all of its images where it has one part. Classes are matched by
    name and have the order of the training source. What does not match stands in the findings.
    """
    stamp = None
    if train.stamp is not None or test.stamp is not None:
        places = [source.stamp or source.origin for source in (train, test)]
        stamp = hashlib.sha256("\0".join(["joined", *places]).encode(errors="surrogateescape")).hexdigest()

    @contextmanager
    def opened() -> Iterator[Contents]:
        with train.open() as first, test.open() as second:
            yield _matched(first, second, train.origin, test.origin)

    return Source(f"{train.origin}, tested on {test.origin}", stamp, opened)


def _matched(train: Contents, test: Contents, train_origin: str, test_origin: str) -> Contents:
    parts = {name: part for name, part in train.parts.items() if name != "test"}
    remarks, findings = [*train.remarks, *test.remarks], list(train.findings)
    findings += [one for one in test.findings if not isinstance(one, TrainingFinding)]
    tested = test.parts.get("test") or (test.parts.get("train") if len(test.parts) == 1 else None)
    if any(finding.severity == "error" for finding in findings):
        pass  # matching what cannot be read would only say the same in other words
    elif tested is None:
        what = f"{test_origin} has {listed(test.parts)} and no test"
        findings.append(Finding("error", what, "name one of the two in data.test, or call one test"))
    elif strange := _strange_classes(tested, test.class_names, train.class_names, train_origin, test_origin):
        findings.append(strange)
    else:
        known = {name: label for label, name in enumerate(train.class_names)}
        label_of = np.array([known.get(name, -1) for name in test.class_names], dtype=np.int64)
        if seen := {name for part in parts.values() for name in part.names}.intersection(tested.names):
            counts = f"{len(seen):,} of {len(tested):,} test images are trained on too"
            remarks.append(f"{counts}, first {shown(min(seen))}: they lift the test accuracy")
        parts["test"] = replace(tested, labels=label_of[tested.labels])
        untested = [shown(name) for name in train.class_names if known[name] not in parts["test"].labels]
        if untested:
            what = f"the test source has no images of {listed(untested)}"
            remarks.append(f"{what}: nothing says how well they are known")
            findings.append(Finding("warning", what, "add some, else nothing says how well they are known"))
    skipped = (*train.skipped, *test.skipped)
    return Contents(train.class_names, parts, tuple(remarks), tuple(findings), skipped)


def _strange_classes(
    tested: Pictures, test_names: tuple[str, ...], train_names: tuple[str, ...], train: str, test: str
) -> Finding | None:
    """Returns the error of test images whose class the training source lacks, None where there are none."""
    used = [test_names[label] for label in np.unique(tested.labels)]
    strange = [name for name in used if name not in set(train_names)]
    if not strange:
        return None
    if _are_numbers(used) != _are_numbers(train_names):
        kinds = [_kind_of_names(names) for names in (train_names, used)]
        what = f"classes are {kinds[0]} in {train} and {kinds[1]} in {test}"
        return Finding("error", what, "name them alike in both")
    first = tested.names[int(np.flatnonzero(tested.labels == test_names.index(strange[0]))[0])]
    hints = listed(f"{shown(name)}{nearest(name, train_names)}" for name in strange)
    what = f"{test}: classes that the training source lacks: {hints}, first {shown(first)}"
    return Finding("error", what, "rename or remove them, or add them to the training images")


def _kind_of_names(names: tuple[str, ...] | list[str]) -> str:
    examples = ", ".join(shown(name)[:20] for name in names[:2])
    return f"{'numbers' if _are_numbers(names) else 'words'} ({examples})"


def _are_numbers(names: tuple[str, ...] | list[str]) -> bool:
    return all(name.isdecimal() for name in names)
