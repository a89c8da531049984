"""What is left of a source without the images that cannot be used (data.on_bad: skip)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from pictorch.datasets.contents import Contents, Pictures, Progress, Skipped
from pictorch.datasets.decoding import Failure, UnusableError
from pictorch.errors import DataError, listed
from pictorch.images import shown

Result = TypeVar("Result")


def decode_usable(
    decode: Callable[[Contents], Result], contents: Contents, on_bad: str, progress: Progress
) -> Result:
    """Returns what `decode` makes of the contents, with `on_bad` 'skip' of those that can be used.

    Where it meets images that cannot be, it is called again without them, so that what comes back is that
    of a source that never had them. Raises UnusableError where one may not be skipped: a file that the
    system does not give, or too little memory, says nothing about the image.
    """
    while True:
        try:
            return decode(contents)
        except UnusableError as error:
            if on_bad != "skip":
                raise
            if passing := {row: one for row, one in error.failures.items() if one.may_pass}:
                raise UnusableError(passing, sum(map(len, contents.parts.values()))) from None
            contents = without(contents, error.failures)
            progress("decoding again, without what cannot be used")


def without(contents: Contents, failures: Mapping[int, Failure]) -> Contents:
    """Returns the contents less the images of some rows, which it lists as skipped, with their reasons.

    Rows count through all parts. Raises DataError where a part, or a class in train, has no image left.
    """
    parts, skipped, first = {}, [], 0
    for name, part in contents.parts.items():
        bad = sorted(row - first for row in failures if first <= row < first + len(part))
        skipped += [Skipped(part.names[row], failures[first + row].reason) for row in bad]
        parts[name] = _less(part, bad)
        first += len(part)
    told = f"{len(skipped):,} of {first:,} images cannot be used"
    example = f"first {shown(skipped[0].place)}: {skipped[0].reason}"
    empty = [name for name, part in parts.items() if not len(part)]
    gone = np.setdiff1d(np.arange(len(contents.class_names)), parts["train"].labels)
    lost = [f"the part {name}" for name in empty] + [shown(contents.class_names[label]) for label in gone]
    if lost:
        raise DataError(f"{told}, and none is left in {listed(lost)}; mend them, {example}")
    remarks = (*contents.remarks, f"{told} and are skipped, {example}")
    return replace(contents, parts=parts, remarks=remarks, skipped=(*contents.skipped, *skipped))


def _less(part: Pictures, bad: list[int]) -> Pictures:
    rows = np.delete(np.arange(len(part)), bad)
    return Pictures(
        names=[part.names[row] for row in rows.tolist()],
        labels=part.labels[rows],
        read=lambda row: part.read(int(rows[row])),
        groups=None if part.groups is None else part.groups[rows],
    )
