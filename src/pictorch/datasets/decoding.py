"""All images of a source, decoded by threads, in order, with whatever was remarkable about them."""

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from pictorch.datasets.contents import Contents, Labels, Pictures, Pixels, Progress
from pictorch.errors import DataError
from pictorch.host import usable_cpus
from pictorch.images import Decoded, Fit, decode, fit_pixels, shown, side_in_header, side_of

Result = TypeVar("Result")

_CHUNK_BYTES = 4_000_000
_SECONDS_BETWEEN_LINES = 10.0


def all_labels(contents: Contents) -> Labels:
    """Returns the labels of all parts, one behind the other."""
    return np.concatenate([part.labels for part in contents.parts.values()])


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


@dataclass
class _Chunk:
    """What one thread decoded: pixels (n, side, side, 3) and what was remarkable."""

    pixels: Pixels
    failures: list[str] = field(default_factory=list)
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
) -> tuple[str, tuple[str, ...]]:
    """Decodes every image in order into `write`; returns the fingerprint and the remarks.

    The fingerprint is a hash of pixels, labels, class names and parts. Raises DataError with the
    number of images that cannot be used, or for one of another size than the image `same_as`.
    """
    total = sum(part_counts(contents).values())
    description = json.dumps([contents.class_names, part_counts(contents), side])
    digest = hashlib.sha256(description.encode())
    digest.update(all_labels(contents).astype("<i8").tobytes())
    failures: list[str] = []
    smaller = several_frames = 0
    done = counted(progress, "decoded", total)
    for chunk in _decoded_chunks(contents, side, fit):
        if chunk.other_size and same_as is not None:
            raise DataError(
                f"images differ in size: the {'shorter' if fit == 'crop' else 'longer'} side of "
                f"{shown(same_as)} has {side} pixels, "
                f"{chunk.other_size}; bring all to one size with `--set data.image_size={min(side, 64)}`"
            )
        failures += chunk.failures
        smaller += chunk.smaller
        several_frames += chunk.several_frames
        digest.update(chunk.pixels.data)
        write(chunk.pixels)
        done(len(chunk.pixels))
    if failures:
        raise DataError(
            f"{len(failures):,} of {total:,} images cannot be used, first {failures[0]}, or remove it"
        )
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
        try:
            decoded = _decoded(part, row, side, fit)
        except DataError as error:
            chunk.failures.append(str(error))
            continue
        chunk.pixels[place] = decoded.pixels
        chunk.smaller += decoded.side(fit) < side
        chunk.several_frames += decoded.several_frames
        if decoded.side(fit) != side and chunk.other_size is None:
            chunk.other_size = f"{shown(part.names[row])} is {decoded.width} x {decoded.height}"
    return chunk


def _decoded(part: Pictures, row: int, side: int, fit: Fit) -> Decoded:
    name = part.names[row]
    try:
        raw = part.read(row)
    except DataError as error:
        raise DataError(f"{shown(name)}: {error}") from None
    return decode(raw, side, name, fit) if isinstance(raw, bytes) else fit_pixels(raw, side, fit)
