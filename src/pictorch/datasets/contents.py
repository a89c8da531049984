"""What a source of images offers before anything is decoded."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.findings import Finding
from pictorch.errors import DataError

Progress = Callable[[str], None]
Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Pictures:
    """The images of one part. `read(row)` gives an image file's bytes or RGB pixels (H, W, 3).

    It may be called from many threads and raises DataError, without the name, when it cannot. Images
    of equal `groups` are never divided among splits; None: each image is for itself.
    """

    names: Sequence[str]
    labels: Labels
    read: Callable[[int], bytes | Pixels]
    groups: Groups | None = None

    def __len__(self) -> int:
        return len(self.names)


class Skipped(NamedTuple):
    """An image or a line of a list that was left out, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """Class names in label order, and the parts: 'train', and 'val' and 'test' where there are any.

    `remarks` are lines that a person should see at each use. `findings` are what the layout alone
    shows; where an error is among them, class names and parts are what could be made of it. `skipped`
    are the lines of a list that are left out.
    """

    class_names: tuple[str, ...]
    parts: Mapping[str, Pictures]
    remarks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def require_sound(self) -> None:
        """Raises DataError with the first error of the layout, where there is one."""
        for finding in self.findings:
            if finding.severity == "error":
                raise DataError(str(finding))


@dataclass(frozen=True)
class Source:
    """Images that were found but not read. `origin` is the line that says where.

    `stamp` is a hash of paths, sizes and times that changes when the images do; None means that
    they are few and in memory. `open` gives access to the contents while its context lasts.
    """

    origin: str
    stamp: str | None
    open: Callable[[], AbstractContextManager[Contents]]


class LineConsole(Protocol):
    """Whatever shows lines to a person."""

    def line(self, text: str, style: str = "") -> None:
        """Shows one line."""


def progress_of(console: LineConsole | None) -> Progress:
    """Returns what takes lines for people: the console's, or stderr where there is none."""
    return console.line if console else lambda line: print(line, file=sys.stderr, flush=True)
