"""All images of a source, decoded by threads, in order, with whatever was remarkable about them."""

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from pictorch.datasets.contents import Contents, Groups, Labels, Pictures, Pixels, Progress
from pictorch.errors import DataError
from pictorch.host import usable_cpus
from pictorch.images import Decoded, Fit, decode, fit_pixels, shown, side_in_header, side_of

Result = TypeVar("Result")

_CHUNK_BYTES = 4_000_000
_SECONDS_BETWEEN_LINES = 10.0


def all_labels(contents: Contents) -> Labels:
    """Returns the labels of all parts, one behind the other."""
    return np.concatenate([part.labels for part in contents.parts.values()])


def all_groups(contents: Contents) -> Groups | None:
    """Returns the groups of all parts, one behind the other, counted up from 0; None where none are named.

    An image of a part without groups is one of its own.
    """
    parts = list(contents.parts.values())
    if all(part.groups is None for part in parts):
        return None
    stops = np.cumsum([len(part) for part in parts]).tolist()
    groups = np.concatenate(
        [
            -np.arange(stop - len(part), stop) - 1 if part.groups is None else part.groups
            for part, stop in zip(parts, stops, strict=True)
        ]
    )
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def part_counts(contents: Contents) -> dict[str, int]:
    """Returns the images of each part, in the order of the parts."""
    return {name: len(part) for name, part in contents.parts.items()}


def stored_size(contents: Contents, image_size: int | None, fit: Fit = "crop") -> tuple[int, str]:
    """Returns the side to store and the image that gave it; reads headers only until it is known."""
    largest, largest_name = 1, ""  # stays so where no image can be read, which decoding says
    for part in contents.parts.values():
        for row in range(len(part)):
            try:
                raw = part.read(row)
                if isinstance(raw, bytes):
                    side = side_in_header(raw, fit=fit)
                else:
                    side = side_of(raw.shape[1], raw.shape[0], fit)
            except DataError:
                continue  # counted and reported when it is decoded
            if side > largest or not largest_name:
                largest, largest_name = side, part.names[row]
            if image_size is None or largest >= image_size:
                return image_size or largest, largest_name
    return largest, largest_name


class Failure(NamedTuple):
    """Why an image cannot be used; `may_pass` where its file or the memory could not be had just now."""

    name: str
    reason: str
    may_pass: bool


class UnusableError(DataError):
    """Images that cannot be used, by their row in the source."""

    def __init__(self, failures: Mapping[int, Failure], total: int) -> None:
        first = next(iter(failures.values()))
        count = f"{len(failures):,} of {total:,} images cannot be used"
        or_skip = "or remove it" if first.may_pass else "remove it, or set data.on_bad to skip"
        super().__init__(f"{count}, first {shown(first.name)}: {first.reason}, {or_skip}")
        self.failures = failures


@dataclass
class _Chunk:
    """What one thread decoded: pixels (n, side, side, 3) and what was remarkable."""

    pixels: Pixels
    failures: dict[int, Failure] = field(default_factory=dict)  # by place in the chunk
    other_size: str | None = None
    smaller: int = 0
    several_frames: int = 0


def decode_all(
    contents: Contents,
    side: int,
    progress: Progress,
    write: Callable[[Pixels], object],
    *,
    same_as: str | None,
    fit: Fit = "crop",
    skips: bool = False,
) -> tuple[str, tuple[str, ...]]:
    """Decodes every image in order into `write`; returns the fingerprint and the remarks.

    The fingerprint is a hash of pixels, labels, class names, parts and groups. Raises UnusableError with
    the images that cannot be used, or DataError for one of another size than the image `same_as`, and if
    it `skips` only where all can be used.
    """
    total = sum(part_counts(contents).values())
    description = json.dumps([contents.class_names, part_counts(contents), side])
    digest = hashlib.sha256(description.encode())
    digest.update(all_labels(contents).astype("<i8").tobytes())
    groups = all_groups(contents)
    if groups is not None:  # they decide the division
        digest.update(groups.astype("<i8").tobytes())
    failures: dict[int, Failure] = {}
    first = 0
    smaller = several_frames = 0
    done = counted(progress, "decoded", total)
    for chunk in _decoded_chunks(contents, side, fit):
        failures |= {first + place: failure for place, failure in chunk.failures.items()}
        first += len(chunk.pixels)
        if chunk.other_size and same_as is not None and not (skips and failures):
            raise DataError(
                f"images differ in size: the {'shorter' if fit == 'crop' else 'longer'} side of "
                f"{shown(same_as)} has {side} pixels, "
                f"{chunk.other_size}; bring all to one size with `--set data.image_size={min(side, 64)}`"
            )
        smaller += chunk.smaller
        several_frames += chunk.several_frames
        digest.update(chunk.pixels.data)
        write(chunk.pixels)
        done(len(chunk.pixels))
    if failures:
        raise UnusableError(failures, total)
    remarks = list(contents.remarks)
    if smaller:
        remarks.append(f"{smaller:,} of {total:,} images are smaller than {side} x {side}: enlarged")
    if several_frames:
        remarks.append(f"{several_frames:,} of {total:,} images have several frames: the first is used")
    return digest.hexdigest(), tuple(remarks)


def in_order(jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Yields what each job returns, in order, made by threads that are never far ahead of the reader."""
    workers = usable_cpus()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def counted(progress: Progress, verb: str, total: int) -> Callable[[int], None]:
    """Returns what takes the number of images just done, and tells now and then how many are."""
    done, next_line = 0, time.monotonic() + _SECONDS_BETWEEN_LINES

    def count(images: int) -> None:
        nonlocal done, next_line
        done += images
        if time.monotonic() >= next_line:
            progress(f"{verb} {done:,} of {total:,} images")
            next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    return count


def _decoded_chunks(contents: Contents, side: int, fit: Fit) -> Iterator[_Chunk]:
    """Yields all images in order."""
    rows = math.ceil(_CHUNK_BYTES / (side * side * 3))
    return in_order(
        partial(_decode_rows, part, range(start, min(start + rows, len(part))), side, fit)
        for part in contents.parts.values()
        for start in range(0, len(part), rows)
    )


def _decode_rows(part: Pictures, rows: range, side: int, fit: Fit) -> _Chunk:
    chunk = _Chunk(np.zeros((len(rows), side, side, 3), dtype=np.uint8))
    for place, row in enumerate(rows):
        decoded = _decoded(part, row, side, fit)
        if isinstance(decoded, Failure):
            chunk.failures[place] = decoded
            continue
        chunk.pixels[place] = decoded.pixels
        chunk.smaller += decoded.side(fit) < side
        chunk.several_frames += decoded.several_frames
        if decoded.side(fit) != side and chunk.other_size is None:
            chunk.other_size = f"{shown(part.names[row])} is {decoded.width} x {decoded.height}"
    return chunk


def _decoded(part: Pictures, row: int, side: int, fit: Fit) -> Decoded | Failure:
    name = part.names[row]
    try:
        raw = part.read(row)
    except DataError as error:
        return Failure(name, str(error), isinstance(error.__context__, OSError))
    try:
        return decode(raw, side, name, fit) if isinstance(raw, bytes) else fit_pixels(raw, side, fit)
    except DataError as error:
        reason = str(error).removeprefix(f"{shown(name)}: ")
        return Failure(name, reason, isinstance(error.__context__, MemoryError))
