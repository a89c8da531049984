"""The division of a source into train, val and test: stratified, and a function of its seed alone."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pictorch.datasets.arrays import SourceRef
from pictorch.datasets.carving import Rows, taken_rows
from pictorch.datasets.contents import Groups, Labels, Pixels, Skipped
from pictorch.datasets.sources import find_sources
from pictorch.datasets.store import Store, open_store
from pictorch.errors import DataError
from pictorch.images import InputSpec
from pictorch.randomness import Purpose, permutation
from pictorch.recipe import DataSection

_VAL_DRAW, _TEST_DRAW = 0, 1  # the two divisions are drawn apart from each other


@dataclass(frozen=True)
class ImageSet:
    """The images of one split: `indices` are the rows of `images` and `labels` that belong to it.

    `images` is uint8 (N, side, side, 3), maybe a memory map, and may be shared with another split.
    """

    images: Pixels
    labels: Labels
    indices: Rows

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Splits:
    """The three splits with their class names in label order.

    `fingerprint` is a hash of the decoded source, before division; `origin` says where it was found;
    `skipped` is what data.on_bad left out.
    """

    train: ImageSet
    val: ImageSet | None
    test: ImageSet | None
    class_names: tuple[str, ...]
    input: InputSpec
    fingerprint: str
    origin: str
    skipped: tuple[Skipped, ...] = ()

    def named(self) -> dict[str, ImageSet]:
        """Returns the splits that there are, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}


def load_splits(
    data: DataSection,
    progress: Callable[[str], None] = lambda line: None,
    given: SourceRef | None = None,
) -> Splits:
    """Returns the divided images of the recipe's sources, or of `given`: a name, a path, or arrays.

    `progress` gets lines for people.

    Raises DataError for a source that is missing, damaged or cannot be divided, ResourceError
    where the cache cannot be written.
    """
    source = find_sources(data, progress, given)
    store = open_store(source, data.image_size, progress, fit=data.fit, on_bad=data.on_bad)
    return divide(store, data, source.origin)


def divide(store: Store, data: DataSection, origin: str) -> Splits:
    """Returns the splits of a store: its own parts, and carved from train what it has no part for.

    With val_fraction 0 nothing validates, and a val part of the source is joined to train. Images of one
    group stay together.
    """
    own = _own_parts(store)
    train, val, test = own["train"], own.get("val"), own.get("test")
    count = len(train.labels)
    if test is None and data.test_fraction > 0:
        order = permutation(data.split_seed, Purpose.SPLIT, count, _TEST_DRAW)
        train, test = _carve(train, order, data.test_fraction, "test", origin, store.groups)
    if val is not None and data.val_fraction == 0:
        train, val = _joined(store, train), None
    elif val is None and data.val_fraction > 0:
        order = permutation(data.split_seed, Purpose.SPLIT, count, _VAL_DRAW)
        train, val = _carve(train, order, data.val_fraction, "val", origin, store.groups)
    spec = InputSpec(store.stored_size, data.image_size or store.stored_size, data.fit)
    return Splits(train, val, test, store.class_names, spec, store.fingerprint, origin, store.skipped)


def split_hashes(splits: Splits) -> dict[str, str]:
    """Returns for each split the SHA-256 of its rows and their labels, as little-endian int64."""
    hashes = {}
    for name, split in splits.named().items():
        digest = hashlib.sha256(split.indices.astype("<i8").tobytes())
        digest.update(split.labels[split.indices].astype("<i8").tobytes())
        hashes[name] = digest.hexdigest()
    return hashes


def describe_splits(splits: Splits, source: str) -> dict[str, Any]:
    """Returns the record of data.json, less the test openings, which the run folder counts."""
    class_counts = {
        name: np.bincount(split.labels[split.indices], minlength=len(splits.class_names)).tolist()
        for name, split in splits.named().items()
    }
    return {
        "source": source,
        "origin": splits.origin,
        "fingerprint": splits.fingerprint,
        "class_names": list(splits.class_names),
        "counts": {name: sum(class_counts.get(name, [])) for name in ("train", "val", "test")},
        "class_counts": class_counts,
        "split_hashes": split_hashes(splits),
        "input": splits.input.to_json(),
        "skipped": [one._asdict() for one in splits.skipped],
    }


def _own_parts(store: Store) -> dict[str, ImageSet]:
    parts, start = {}, 0
    for name, count in store.counts.items():
        parts[name] = _rows(store, start, start + count)
        start += count
    return parts


def _joined(store: Store, train: ImageSet) -> ImageSet:
    """Returns what is left of train, and val, as one; they lie side by side in the store."""
    assert list(store.counts)[:2] == ["train", "val"]
    first, stop = store.counts["train"], store.counts["train"] + store.counts["val"]
    indices = np.concatenate([train.indices, np.arange(first, stop)])
    return ImageSet(store.images[:stop], store.labels[:stop], indices)


def _rows(store: Store, start: int, stop: int) -> ImageSet:
    return ImageSet(store.images[start:stop], store.labels[start:stop], np.arange(stop - start))


def _carve(
    pool: ImageSet, order: Rows, fraction: float, name: str, origin: str, groups: Groups | None
) -> tuple[ImageSet, ImageSet]:
    """Returns (what stays, what is taken): from each class the first images of the order."""
    allowed = np.zeros(len(pool.labels), dtype=bool)
    allowed[pool.indices] = True
    rows = taken_rows(pool.labels, order[allowed[order]], fraction, groups)
    if len(rows) == 0:
        raise DataError(
            f"{origin}: no class has the two {'images' if groups is None else 'groups'} that "
            f"data.{name}_fraction needs; add images, or do without with `--set data.{name}_fraction=0`"
        )
    stays = np.setdiff1d(pool.indices, rows)
    return ImageSet(pool.images, pool.labels, stays), ImageSet(pool.images, pool.labels, rows)
