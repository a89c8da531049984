"""Small data sets as users have them: image folders, zips, and CIFAR-10's archive as Python 2 wrote it."""

import io
import mmap
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch.datasets.cifar import CIFAR10, CLASSES

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_classes(root: Path, classes: Mapping[str, int], side: int = 8, seed: int = 0) -> Path:
    """Writes PNGs <root>/<class>/<number>.png, as many as `classes` says, all different."""
    for number, (name, count) in enumerate(classes.items()):
        for index in range(count):
            write_image(root / name / f"{index:03d}.png", noise(side, side, seed + 1000 * number + index))
    return root


def zip_folder(root: Path, path: Path, top: str = "") -> Path:
    """Packs a folder, with `top` before each member's name."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, top + file.relative_to(root).as_posix())
    return path


def python2_pickle(value: Any) -> bytes:
    """Returns a pickle of protocol 2 as Python 2 with NumPy 1 wrote it: str as bytes, numpy.core names."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_python2(key) + _python2(item) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(_python2(item) for item in value) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, np.ndarray):
        assert value.dtype == np.uint8
        height, width = value.shape
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = _python2(height) + _python2(width) + b"\x86"
        return made + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"
    raise TypeError(value)


class MadeCifar:
    """CIFAR-10 in the official layout; by default 20 random images in each of the six batches."""

    def __init__(self, per_batch: int = 20) -> None:
        names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
        self.images: dict[str, Pixels] = {}
        self.labels: dict[str, list[int]] = {}
        self.files = {"batches.meta": python2_pickle(self.meta(per_batch))}
        for seed, name in enumerate(names):
            images = np.stack([noise(32, 32, 100 * seed + index) for index in range(per_batch)])
            self.put(name, images, [(seed + index) % 10 for index in range(per_batch)])

    @staticmethod
    def meta(per_batch: int) -> dict[bytes, Any]:
        label_names = [name.encode() for name in CLASSES]
        return {b"num_cases_per_batch": per_batch, b"label_names": label_names, b"num_vis": 3072}

    def put(self, name: str, images: Pixels, labels: list[int]) -> None:
        """Sets one batch from images (n, 32, 32, 3)."""
        self.images[name], self.labels[name] = images, labels
        record = {
            b"batch_label": name.encode(),
            b"labels": labels,
            b"data": images.transpose(0, 3, 1, 2).reshape(len(images), 3072),
            b"filenames": [b"%d.png" % index for index in range(len(images))],
        }
        self.files[name] = python2_pickle(record)

    def train_images(self) -> Pixels:
        return np.concatenate([self.images[f"data_batch_{number}"] for number in range(1, 6)])

    def write_batches(self, parent: Path) -> Path:
        folder = parent / CIFAR10.folder
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder

    def write_archive(self, parent: Path) -> Path:
        parent.mkdir(parents=True, exist_ok=True)
        path = parent / CIFAR10.archive
        with tarfile.open(path, "w:gz") as archive:
            for name, data in {**self.files, "readme.html": b"<html>"}.items():
                member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path


def is_mapped(array: Pixels) -> bool:
    """Returns whether an array lies in a map of a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)
