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
_LEAST_BYTES = 1 << 16  # of a row; what smaller ones bring along with a page of theirs is not wasted


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


def read_ahead(images: Pixels, rows: NDArray[np.int64]) -> None:
    """Asks the system to read rows of a map from the disk while something else is done; returns at once.

    Without it each image is waited for, and the megabytes around it are read too. An array
    in memory, and one whose rows are small, is left as it is.
    """
    base: Any = images
    while isinstance(base, np.ndarray):
        base = base.base
    whole = base.obj if isinstance(base, memoryview) else None
    if not isinstance(whole, mmap.mmap) or images.strides[0] < _LEAST_BYTES:
        return
    start = images.ctypes.data - np.frombuffer(whole, np.uint8).ctypes.data
    for row in rows.tolist():
        first = start + row * images.strides[0]
        in_page = first % mmap.PAGESIZE
        whole.madvise(mmap.MADV_WILLNEED, first - in_page, in_page + images.strides[0])
