"""An array in a .npy file as a map, which may be larger than memory."""

import mmap
import sys
from pathlib import Path

import numpy as np

from pictorch.datasets.contents import Pixels

# Linux' name for it is missing in Python's mmap; other systems reserve nothing anyway.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


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
