"""A map of an array: larger than memory, private, read ahead, and no map of anything else."""

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pictorch.datasets.contents import Pixels
from pictorch.datasets.mapped import has_large_rows, is_mapped, map_array, read_ahead


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


def resident_pages(images: Pixels, row: int) -> list[bool]:
    """Returns for each page of a row whether it lies in memory."""
    begin = images[row].ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    pages = (ctypes.c_ubyte * ((images[row].ctypes.data + images[row].nbytes - begin) // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(begin), len(pages) * mmap.PAGESIZE, pages) == 0
    return [bool(page & 1) for page in pages]


def test_rows_that_are_asked_for_come_and_others_do_not(tmp_path: Path) -> None:
    """On a file system that can forget pages; where it cannot, nothing is to be seen."""
    np.save(tmp_path / "a.npy", np.ones((40, 256, 256, 3), np.uint8))
    with (tmp_path / "a.npy").open("rb") as file:
        os.fdatasync(file.fileno())  # pages that are not written yet cannot be forgotten
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    images = map_array(tmp_path / "a.npy")[10:]
    if any(resident_pages(images, 5)):
        pytest.skip("the pages of a file stay in memory here")
    read_ahead(images, np.array([3, 9]))
    deadline = time.monotonic() + 30
    while not (all(resident_pages(images, 3)) and all(resident_pages(images, 9))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not any(resident_pages(images, 6)[1:-1])


def test_an_array_in_memory_and_one_of_small_rows_are_left_alone(tmp_path: Path) -> None:
    read_ahead(np.zeros((2, 256, 256, 3), np.uint8), np.array([0, 1]))
    np.save(tmp_path / "a.npy", np.zeros((4, 32, 32, 3), np.uint8))
    read_ahead(map_array(tmp_path / "a.npy"), np.array([0, 3]))


def test_what_is_a_map_and_what_has_large_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 160, 160, 3), np.uint8))
    images = map_array(tmp_path / "a.npy")
    assert is_mapped(images)
    assert is_mapped(images[1:3])
    assert has_large_rows(images)
    assert not has_large_rows(images[:, :32, :32].copy())
    assert not is_mapped(images.copy())


def test_neighbours_are_asked_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Map(mmap.mmap):
        def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
            assert (option, start % mmap.PAGESIZE) == (mmap.MADV_WILLNEED, 0)
            asked.append((start, start + length))

    np.save(tmp_path / "a.npy", np.zeros((40, 128, 128, 3), np.uint8))
    monkeypatch.setattr(mmap, "mmap", Map)
    images = map_array(tmp_path / "a.npy")
    read_ahead(images, np.array([7, 8, 9, 2, 20, 21, 5, 4]))
    head, row = 128, 128 * 128 * 3  # 48 KB: one alone is too small
    for (start, stop), (first, end) in zip(asked, [(7, 10), (20, 22)], strict=True):
        assert head + first * row - mmap.PAGESIZE < start <= head + first * row
        assert stop == head + end * row
    read_ahead(images, np.array([], np.int64))
    assert len(asked) == 2
