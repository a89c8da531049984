"""Every file of a source read once, whole: what it is, whether it can be decoded, a hash of its pixels.

What was read is kept in the cache beside the stores, under a key made of paths, sizes and times, so
that looking a second time reads no image.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pictorch import durable
from pictorch.datasets.contents import Contents, Pictures, Progress, Source
from pictorch.datasets.decoding import counted, in_order, part_counts
from pictorch.errors import CheckpointError, DataError, ResourceError
from pictorch.images import WholeImage, read_whole, shown
from pictorch.places import cache_folder

SURVEY_VERSION = 3  # counted up whenever an equal file would be described otherwise

FACTS = np.dtype(
    [
        ("width", "<i4"),
        ("height", "<i4"),
        ("kind", "S8"),
        ("mode", "S8"),
        ("several_frames", "?"),
        ("turned", "?"),
        ("mean", "<f8", (3,)),
        ("square", "<f8", (3,)),
        ("low", "u1", (3,)),
        ("high", "u1", (3,)),
        ("pixels", "S32"),
    ]
)
_FILE = "survey.npz"
_ROWS = 200  # images that a thread reads in one go


class FileFacts(NamedTuple):
    """One row of FACTS. Width and height are 0 where the file cannot be decoded.

    `kind` and `mode` are Pillow's names (kind b"" for images that lie in an array); `turned` tells of
    an EXIF orientation; of R, G and B, `mean` and `square` are the means of the values and of their
    squares, fractions of full brightness, `low` and `high` the ends of their range, 0 to 255; `pixels`
    is a hash of the size and of all RGB pixels.
    """

    width: int
    height: int
    kind: bytes
    mode: bytes
    several_frames: bool
    turned: bool
    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    low: NDArray[np.uint8]
    high: NDArray[np.uint8]
    pixels: bytes

    @property
    def one_color(self) -> bool:
        """Whether the file can be decoded and all its pixels are equal."""
        return self.width > 0 and bool((self.low == self.high).all())


@dataclass(frozen=True)
class PartSurvey:
    """What the files of one part are: a row of FACTS each, and by row why some cannot be decoded.

    The reasons do not name the file: the same files may be looked at by another path the next time.
    """

    facts: NDArray[np.void]
    failures: dict[int, str]
    all_read: bool = True  # False where a file's bytes, or the memory for its pixels, could not be had

    def files(self) -> list[FileFacts]:
        """Returns the facts of every file, in the order of the part."""
        return [FileFacts(*row) for row in self.facts.tolist()]


Survey = dict[str, PartSurvey]


class Channels(NamedTuple):
    """R, G and B of many images: ends of the range, 0 to 255; mean and deviation, fractions of 255."""

    range: tuple[tuple[int, int], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def channels_of(facts: NDArray[np.void]) -> Channels:
    """Returns the channels of the files that can be decoded, each counting the same; 0 without any."""
    facts = facts[facts["width"] > 0]
    if not len(facts):
        return Channels(((0, 0),) * 3, (0.0,) * 3, (0.0,) * 3)
    mean = facts["mean"].mean(axis=0)
    std = np.sqrt(np.maximum(facts["square"].mean(axis=0) - mean**2, 0))
    ends = zip(facts["low"].min(axis=0).tolist(), facts["high"].max(axis=0).tolist(), strict=True)
    return Channels(tuple(ends), tuple(mean.tolist()), tuple(std.tolist()))


def survey(source: Source, contents: Contents, progress: Progress) -> Survey:
    """Returns what the files of each part are, from the cache where it is, else read now and cached.

    A file that cannot be decoded is a failure with its reason, and the others are read all the same.
    """
    if source.stamp is None:
        return _read_all(contents, progress)
    key = hashlib.sha256(f"survey {SURVEY_VERSION} {source.stamp}".encode()).hexdigest()
    folder = cache_folder() / "surveys" / key[:32]
    if folder.exists():
        try:
            manifest = durable.verify_folder(folder)
            with np.load(folder / _FILE, allow_pickle=False) as arrays:
                return _from_arrays(arrays, manifest["failures"])
        except (CheckpointError, ValueError, KeyError, OSError) as error:
            progress(f"{folder} cannot be used ({error}); reading the images again")
    found = _read_all(contents, progress)
    # What could not be had now may be had later, and the key would be the same.
    if all(part.all_read for part in found.values()):
        try:
            _write(folder, found)
        except ResourceError as error:
            progress(f"{error}; until then every look reads all images again")
    return found


def _write(folder: Path, found: Survey) -> None:
    failures = {name: {str(row): text for row, text in part.failures.items()} for name, part in found.items()}
    with durable.new_folder(folder, {"survey_version": SURVEY_VERSION, "failures": failures}) as unfinished:
        arrays: dict[str, NDArray[Any]] = {f"{name}.facts": part.facts for name, part in found.items()}
        np.savez(unfinished / _FILE, allow_pickle=False, **arrays)


def _from_arrays(arrays: Any, failures: dict[str, dict[str, str]]) -> Survey:
    return {
        name: PartSurvey(arrays[f"{name}.facts"], {int(row): text for row, text in texts.items()})
        for name, texts in failures.items()
    }


def _read_all(contents: Contents, progress: Progress) -> Survey:
    done = counted(progress, "looked at", sum(part_counts(contents).values()))
    found = {}
    for name, part in contents.parts.items():
        chunks = []
        starts = range(0, len(part), _ROWS)
        for chunk in in_order(
            partial(_read_rows, part, range(start, min(start + _ROWS, len(part)))) for start in starts
        ):
            chunks.append(chunk)
            done(len(chunk.facts))
        found[name] = _joined(chunks)
    return found


def _joined(chunks: list[PartSurvey]) -> PartSurvey:
    facts = np.concatenate([chunk.facts for chunk in chunks]) if chunks else np.zeros(0, FACTS)
    failures = {row: text for chunk in chunks for row, text in chunk.failures.items()}
    return PartSurvey(facts, failures, all(chunk.all_read for chunk in chunks))


def _read_rows(part: Pictures, rows: range) -> PartSurvey:
    facts, failures, all_read = np.zeros(len(rows), FACTS), {}, True
    levels = np.arange(256)
    for place, row in enumerate(rows):
        name = part.names[row]
        try:
            raw = part.read(row)
        except DataError as error:
            failures[row], all_read = str(error), False
            continue
        try:
            image = read_whole(raw, name) if isinstance(raw, bytes) else WholeImage(raw)
        except DataError as error:
            failures[row] = str(error).removeprefix(f"{shown(name)}: ")
            all_read = all_read and not isinstance(error.__context__, MemoryError)
            continue
        height, width = image.pixels.shape[:2]
        counts = image.brightness_counts()
        present = counts > 0
        digest = hashlib.blake2b(b"%d %d " % (height, width), digest_size=16)
        digest.update(np.ascontiguousarray(image.pixels).data)
        facts[place] = FileFacts(
            width,
            height,
            image.kind.encode(),
            image.mode.encode(),
            image.several_frames,
            image.turned,
            counts @ levels / (255 * height * width),
            counts @ levels**2 / (255**2 * height * width),
            present.argmax(axis=1).astype(np.uint8),
            (255 - present[:, ::-1].argmax(axis=1)).astype(np.uint8),
            digest.hexdigest().encode(),
        )
    return PartSurvey(facts, failures, all_read)
