"""The store: all images of a source decoded once, in one uint8 array that is mapped, not read.

A store lies in the cache under a key made of paths, sizes and times, so that opening it a second
time reads no image. Its content is hashed once, when it is made.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pictorch import durable
from pictorch.datasets.contents import Contents, Labels, Pixels, Progress, Source
from pictorch.datasets.decoding import all_labels, decode_all, part_counts, stored_size
from pictorch.errors import CheckpointError, ResourceError
from pictorch.images import Fit
from pictorch.places import cache_folder

STORE_VERSION = 2  # counted up whenever equal files would give other pixels or class names
LARGEST_CACHE_BYTES = 50_000_000_000

_IMAGES, _LABELS = "images.npy", "labels.npy"


@dataclass(frozen=True)
class Store:
    """Decoded images uint8 (N, side, side, 3) with labels; the parts lie one behind the other.

    `counts` holds the images of each part in that order; `fingerprint` is a hash of pixels, labels,
    class names and counts; `remarks` are lines that a person should see at each use.
    """

    images: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    counts: dict[str, int]
    fingerprint: str
    remarks: tuple[str, ...]

    @property
    def stored_size(self) -> int:
        """The side of the stored images in pixels."""
        return int(self.images.shape[1])


def open_store(source: Source, image_size: int | None, progress: Progress, *, fit: Fit = "crop") -> Store:
    """Returns the store of a source, from the cache where it is, else decoded now and cached.

    Images are stored with a side of min(image_size, their largest shorter side), or where it is None,
    with the shorter side that all of them share; with fit pad and stretch it is the longer side. Raises
    DataError for images that cannot be used, ResourceError where the cache cannot be written.
    """
    if source.stamp is None:
        with source.open() as contents:
            contents.require_sound()
            store = _decode_to_memory(contents, image_size, fit, progress)
    else:
        other_fit = "" if fit == "crop" else f" {fit}"
        text = f"{STORE_VERSION} {source.stamp} {image_size}{other_fit}"
        folder = cache_folder() / "stores" / hashlib.sha256(text.encode()).hexdigest()[:32]
        store = _cached(folder, progress) or _build(source, image_size, fit, folder, progress)
        with suppress(OSError):  # a cache that may only be read serves too
            os.utime(_lock_of(folder))  # when it was last used
    for line in store.remarks:
        progress(line)
    return store


def _cached(folder: Path, progress: Progress) -> Store | None:
    """Returns the cached store; None where there is none or where it is damaged, which is said."""
    if not folder.exists():
        return None
    try:
        manifest = durable.verify_folder(folder, hashes=False)
        return Store(
            images=np.load(folder / _IMAGES, mmap_mode="c", allow_pickle=False),
            labels=np.load(folder / _LABELS, allow_pickle=False),
            class_names=tuple(manifest["class_names"]),
            counts=manifest["counts"],
            fingerprint=manifest["fingerprint"],
            remarks=tuple(manifest["remarks"]),
        )
    except (CheckpointError, ValueError, KeyError, OSError) as error:
        progress(f"cached store {folder} cannot be used ({error}); decoding the images again")
        return None


def _build(source: Source, image_size: int | None, fit: Fit, folder: Path, progress: Progress) -> Store:
    try:
        with _only_builder(folder):
            store = _cached(folder, progress)  # another process may have made it meanwhile
            if store is not None:
                return store
            with source.open() as contents:
                contents.require_sound()
                _decode_to_folder(contents, image_size, fit, folder, progress)
                _remove_oldest(folder, progress)
                # A person may have emptied the cache just now.
                return _cached(folder, progress) or _decode_to_memory(contents, image_size, fit, progress)
    except ResourceError as error:
        raise ResourceError(f"{error}, or let XDG_CACHE_HOME name another folder for the cache") from None


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Waits until no other process makes this store; the kernel frees the lock with its holder."""
    lock = _lock_of(folder)
    with durable.explained(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _remove_oldest(newest: Path, progress: Progress) -> None:
    """Removes the stores whose last use is longest ago, until all have at most LARGEST_CACHE_BYTES.

    A process that has mapped one keeps its pages until it ends; one that is being made stays.
    """
    durable.sweep(newest.parent)
    used = {}
    for lock in newest.parent.glob("*.lock"):
        with suppress(FileNotFoundError):
            used[lock.with_suffix("")] = lock.stat().st_mtime
    used.pop(newest, None)
    total = durable.size_bytes(newest)
    for folder in sorted(used, key=used.__getitem__, reverse=True):
        size = durable.size_bytes(folder)
        if total + size > LARGEST_CACHE_BYTES and _removed(folder):
            progress(f"the cache has more than {LARGEST_CACHE_BYTES / 1e9:.0f} GB: removed {folder}")
        else:
            total += size


def _removed(folder: Path) -> bool:
    """Removes a store, unless it is gone already, in the making, or may not be removed."""
    with suppress(OSError, ResourceError), _lock_of(folder).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            durable.remove_folder(folder)
            return True
    return False


def _decode_to_folder(
    contents: Contents, image_size: int | None, fit: Fit, folder: Path, progress: Progress
) -> None:
    side, given_by = stored_size(contents, image_size, fit)
    manifest: dict[str, Any] = {"store_version": STORE_VERSION}
    labels, counts = all_labels(contents), part_counts(contents)
    progress(f"decoding {len(labels):,} images once to {side} x {side} pixels, into {folder}")
    with (
        durable.new_folder(folder, manifest) as unfinished,
        (unfinished / _IMAGES).open("wb") as file,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (len(labels), side, side, 3)}
        )
        # Written, not mapped: a full disk is an error here, and a dead process with a map.
        fingerprint, remarks = decode_all(
            contents,
            side,
            progress,
            lambda pixels: file.write(pixels.data),
            same_as=None if image_size else given_by,
            fit=fit,
        )
        np.save(unfinished / _LABELS, labels, allow_pickle=False)
        manifest |= {
            "class_names": list(contents.class_names),
            "stored_size": side,
            "counts": counts,
            "fingerprint": fingerprint,
            "remarks": list(remarks),
        }


def _decode_to_memory(contents: Contents, image_size: int | None, fit: Fit, progress: Progress) -> Store:
    side, given_by = stored_size(contents, image_size, fit)
    labels = all_labels(contents)
    chunks: list[Pixels] = []
    fingerprint, remarks = decode_all(
        contents, side, progress, chunks.append, same_as=None if image_size else given_by, fit=fit
    )
    return Store(
        images=np.concatenate(chunks),
        labels=labels,
        class_names=contents.class_names,
        counts=part_counts(contents),
        fingerprint=fingerprint,
        remarks=remarks,
    )
