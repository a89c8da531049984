"""An array in a .npy file as a map, which may be larger than memory, and its rows read ahead."""

import mmap
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.contents import Pixels

# Linux' name for it is missing in Python's mmap; other systems reserve nothing anyway.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
_LEAST_BYTES = 1 << 16  # of rows side by side; what fewer bring along with a page of theirs is not wasted


def map_array(path: Path) -> Pixels:
    """Returns the uint8 array in a .npy file, mapped; what is written into it never reaches the file.

    np.load's copy-on-write map asks for memory for all of the array, and Linux refuses more than there
    is. Raises ValueError or OSError for a file that is no such array.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.uint8 or is_fortran:
            raise ValueError(f"{path.name} holds {dtype}")
        access = mmap.PROT_READ | mmap.PROT_WRITE
        whole = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=access)
        return np.frombuffer(whole, np.uint8, offset=file.tell()).reshape(shape)


def read_ahead(images: Pixels, rows: NDArray[np.int64], *, least_bytes: int = _LEAST_BYTES) -> None:
    """Asks the system to read rows of a map from the disk while something else is done; returns at once.

    Without it each image is waited for, and the megabytes around it are read too. Rows that follow each
    other are asked for at once. An array in memory, and pieces of fewer bytes, are left as they are.
    """
    whole = _map_of(images)
    if whole is None or len(rows) == 0:
        return
    row_bytes = images.strides[0]
    start = images.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data
    runs = np.r_[0, np.flatnonzero(np.diff(rows) != 1) + 1]
    for first, count in zip(rows[runs].tolist(), np.diff(runs, append=len(rows)).tolist(), strict=True):
        if count * row_bytes >= least_bytes:
            begin = start + first * row_bytes
            in_page = begin % mmap.PAGESIZE
            whole.madvise(mmap.MADV_WILLNEED, begin - in_page, in_page + count * row_bytes)


def is_mapped(images: Pixels) -> bool:
    """Returns whether the array lies in a map of a file."""
    return _map_of(images) is not None


def has_large_rows(images: Pixels) -> bool:
    """Returns whether a single row is worth being read ahead."""
    return images.strides[0] >= _LEAST_BYTES


def _map_of(images: Pixels) -> mmap.mmap | None:
    base: Any = images
    while isinstance(base, np.ndarray):
        base = base.base
    whole = base.obj if isinstance(base, memoryview) else None
    return whole if isinstance(whole, mmap.mmap) else None
