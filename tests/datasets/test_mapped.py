"""A map of an array: larger than memory, private, and no map of anything else."""

import os
from pathlib import Path

import numpy as np
import pytest

from pictorch.datasets.mapped import map_array


def test_it_may_be_larger_than_memory_and_swap(tmp_path: Path) -> None:
    """The file has no blocks on the disk; its map must not ask for memory either."""
    path = tmp_path / "images.npy"
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    rows = 4 * memory_bytes // (256 * 256 * 3)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (rows, 256, 256, 3)}
        )
        file.truncate(file.tell() + rows * 256 * 256 * 3)
    images = map_array(path)
    assert images.shape == (rows, 256, 256, 3)
    assert images[[0, rows - 1]].sum() == 0


def test_writing_does_not_reach_the_file(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    np.save(tmp_path / "a.npy", pixels)
    images = map_array(tmp_path / "a.npy")
    assert np.array_equal(images, pixels)
    images[:] = 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), pixels)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 3), np.uint8, order="F")])
def test_another_array_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy holds"):
        map_array(tmp_path / "a.npy")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 3), np.uint8))
    os.truncate(tmp_path / "a.npy", 140)
    with pytest.raises(ValueError, match="cannot reshape"):
        map_array(tmp_path / "a.npy")
