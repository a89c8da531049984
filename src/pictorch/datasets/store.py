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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pictorch import durable
from pictorch.datasets.contents import Contents, Groups, Labels, Pixels, Progress, Skipped, Source
from pictorch.datasets.decoding import all_groups, all_labels, decode_all, part_counts, stored_size
from pictorch.datasets.mapped import map_array
from pictorch.datasets.skipping import decode_usable
from pictorch.errors import CheckpointError, ResourceError
from pictorch.images import Fit
from pictorch.places import cache_folder

STORE_VERSION = 2  # counted up whenever equal files would give other pixels or class names
LARGEST_CACHE_BYTES = 50_000_000_000

_IMAGES, _LABELS, _GROUPS = "images.npy", "labels.npy", "groups.npy"


@dataclass(frozen=True)
class Store:
    """Decoded images uint8 (N, side, side, 3) with labels; the parts lie one behind the other.

    `counts` holds the images of each part in that order; `fingerprint` is a hash of pixels, labels,
    class names, counts and groups; `remarks` are lines that a person should see at each use. Images of
    equal `groups` are never divided; `skipped` are those that data.on_bad left out.
    """

    images: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    counts: dict[str, int]
    fingerprint: str
    remarks: tuple[str, ...]
    groups: Groups | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def stored_size(self) -> int:
        """The side of the stored images in pixels."""
        return int(self.images.shape[1])


class _Form(NamedTuple):
    """How images are stored, as in the recipe's data."""

    image_size: int | None
    fit: Fit
    on_bad: str

    def key(self, stamp: str) -> str:
        """Returns what the folder of a store is called by; defaults came later and stand not in it."""
        fit = "" if self.fit == "crop" else f" {self.fit}"
        return f"{STORE_VERSION} {stamp} {self.image_size}{fit}{' skip' if self.on_bad == 'skip' else ''}"


def open_store(
    source: Source,
    image_size: int | None,
    progress: Progress,
    *,
    fit: Fit = "crop",
    on_bad: str = "stop",
) -> Store:
    """Returns the store of a source, from the cache where it is, else decoded now and cached.

    Images are stored with a side of min(image_size, their largest shorter side), or where it is None,
    with the shorter side that all of them share; with fit pad and stretch it is the longer side. With
    `on_bad` 'skip' images that cannot be decoded are left out. Raises DataError for images that cannot be
    used, ResourceError where the cache cannot be written.
    """
    form = _Form(image_size, fit, on_bad)
    if source.stamp is None:
        with source.open() as contents:
            contents.require_sound()
            store = decode_usable(partial(_decode_to_memory, form, progress), contents, on_bad, progress)
    else:
        key = hashlib.sha256(form.key(source.stamp).encode()).hexdigest()
        folder = cache_folder() / "stores" / key[:32]
        store = _cached(folder, progress) or _build(source, form, folder, progress)
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
        groups = folder / _GROUPS
        return Store(
            images=map_array(folder / _IMAGES),
            labels=np.load(folder / _LABELS, allow_pickle=False),
            class_names=tuple(manifest["class_names"]),
            counts=manifest["counts"],
            fingerprint=manifest["fingerprint"],
            remarks=tuple(manifest["remarks"]),
            groups=np.load(groups, allow_pickle=False) if groups.exists() else None,
            skipped=tuple(Skipped(*one) for one in manifest.get("skipped", ())),
        )
    except (CheckpointError, ValueError, KeyError, OSError) as error:
        progress(f"cached store {folder} cannot be used ({error}); decoding the images again")
        return None


def _build(source: Source, form: _Form, folder: Path, progress: Progress) -> Store:
    try:
        with _only_builder(folder):
            store = _cached(folder, progress)  # another process may have made it meanwhile
            if store is not None:
                return store
            with source.open() as contents:
                contents.require_sound()
                decode = partial(_decode_to_folder, form, folder, progress)
                usable = decode_usable(decode, contents, form.on_bad, progress)
                _remove_oldest(folder, progress)
                # A person may have emptied the cache just now.
                return _cached(folder, progress) or _decode_to_memory(form, progress, usable)
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


def _decode_to_folder(form: _Form, folder: Path, progress: Progress, contents: Contents) -> Contents:
    """Decodes into the folder; returns the contents, all of which can be used."""
    side, given_by = stored_size(contents, form.image_size, form.fit)
    manifest: dict[str, Any] = {"store_version": STORE_VERSION}
    labels, groups = all_labels(contents), all_groups(contents)
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
            same_as=None if form.image_size else given_by,
            fit=form.fit,
            skips=form.on_bad == "skip",
        )
        np.save(unfinished / _LABELS, labels, allow_pickle=False)
        if groups is not None:
            np.save(unfinished / _GROUPS, groups, allow_pickle=False)
        manifest |= {
            "class_names": list(contents.class_names),
            "stored_size": side,
            "counts": part_counts(contents),
            "fingerprint": fingerprint,
            "remarks": list(remarks),
            "skipped": [list(one) for one in contents.skipped],
        }
    return contents


def _decode_to_memory(form: _Form, progress: Progress, contents: Contents) -> Store:
    side, given_by = stored_size(contents, form.image_size, form.fit)
    chunks: list[Pixels] = []
    fingerprint, remarks = decode_all(
        contents,
        side,
        progress,
        chunks.append,
        same_as=None if form.image_size else given_by,
        fit=form.fit,
        skips=form.on_bad == "skip",
    )
    return Store(
        images=np.concatenate(chunks),
        labels=all_labels(contents),
        class_names=contents.class_names,
        counts=part_counts(contents),
        fingerprint=fingerprint,
        remarks=remarks,
        groups=all_groups(contents),
        skipped=contents.skipped,
    )
