"""MNIST's four files, made up, in the official format."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGES = np.random.default_rng(7).integers(0, 256, (32, 28, 28), np.uint8)
LABELS = np.arange(32, dtype=np.uint8) % 10
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: NDArray[np.uint8]) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def write_idx(
    folder: Path, spelling: Callable[[str], str] = str, *, packed: bool = False, **files: bytes | None
) -> Path:
    """Writes 20 images to train and 12 to test; `files` replaces contents, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [idx(IMAGES[:20]), idx(LABELS[:20]), idx(IMAGES[20:]), idx(LABELS[20:])]
    for name, made in zip(NAMES, contents, strict=True):
        data = files.get("_".join(name.split("-")[:2]), made)
        if data is not None:
            path = folder / (spelling(name) + (".gz" if packed else ""))
            path.write_bytes(gzip.compress(data) if packed else data)
    return folder
