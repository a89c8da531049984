"""The store: decoded once, opened without reading an image, rebuilt when it is damaged."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_data import is_mapped, noise, write_classes, write_image
from pictorch import durable
from pictorch.datasets import Splits, decoding, load_splits
from pictorch.errors import DataError, ResourceError
from pictorch.recipe import DataSection

REAL_DATA = os.environ.get("PICTORCH_DATA", "")


def load(source: object, image_size: int | None = None) -> tuple[Splits, list[str]]:
    lines: list[str] = []
    section = DataSection(source=str(source), image_size=image_size, val_fraction=0.0, test_fraction=0.0)
    return load_splits(section, lines.append), lines


def store_folders(home: Path) -> list[Path]:
    stores = home / "cache" / "pictorch" / "stores"
    return [path for path in stores.iterdir() if path.is_dir()]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pets", {"cat": 5, "dog": 4})


def test_the_second_opening_decodes_nothing(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, lines = load(pets)
    assert any(line.startswith("decoding 9 images once to 8 x 8 pixels") for line in lines)

    def fail(*_: object, **__: object) -> Any:
        raise AssertionError("an image was read")

    monkeypatch.setattr(decoding, "decode", fail)
    monkeypatch.setattr(decoding, "side_in_header", fail)
    second, lines = load(pets)
    assert lines == []
    assert is_mapped(second.train.images)
    assert np.array_equal(first.train.images, second.train.images)
    assert np.array_equal(second.train.images[5], noise(8, 8, 1000))
    assert first.fingerprint == second.fingerprint


def test_writing_into_the_images_leaves_the_cache_alone(pets: Path) -> None:
    first, _ = load(pets)
    before = first.train.images[0].copy()
    first.train.images[0] = 0
    assert np.array_equal(load(pets)[0].train.images[0], before)


def change_content(pets: Path) -> None:
    write_image(pets / "cat" / "000.png", noise(8, 8, 99))


def touch(pets: Path) -> None:
    os.utime(pets / "cat" / "000.png", ns=(0, 0))


def rename(pets: Path) -> None:
    (pets / "cat" / "000.png").rename(pets / "cat" / "aaa.png")


def add(pets: Path) -> None:
    write_image(pets / "cat" / "zzz.png", noise(8, 8, 98))


def remove(pets: Path) -> None:
    (pets / "cat" / "000.png").unlink()


@pytest.mark.parametrize(
    ("change", "content_changes"),
    [(change_content, True), (touch, False), (rename, True), (add, True), (remove, True)],
)
def test_any_change_of_the_files_is_seen(change: Any, content_changes: bool, pets: Path) -> None:
    before, _ = load(pets)
    change(pets)
    after, lines = load(pets)
    assert any("decoding" in line for line in lines)
    assert (before.fingerprint != after.fingerprint) == content_changes


def test_the_fingerprint_depends_on_class_names_and_labels(pets: Path) -> None:
    first, _ = load(pets)
    (pets / "cat").rename(pets / "cats")
    second, _ = load(pets)
    (pets / "cats" / "004.png").rename(pets / "dog" / "!.png")
    third, _ = load(pets)
    assert np.array_equal(first.train.images, second.train.images)
    assert np.array_equal(second.train.images, third.train.images)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "remove", "garble"])
def test_a_damaged_store_is_decoded_again(name: str, damage: str, pets: Path, own_places: Path) -> None:
    whole, _ = load(pets)
    expected = np.array(whole.train.images)
    file = store_folders(own_places)[0] / name
    data = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "remove":
            file.unlink()
        case "garble":
            file.write_bytes(b"x" * 20 + data[20:])
    again, lines = load(pets)
    assert any("cannot be used" in line and "decoding the images again" in line for line in lines)
    assert np.array_equal(again.train.images, expected)
    assert again.fingerprint == whole.fingerprint
    assert load(pets)[1] == []


def test_the_store_lies_in_the_cache_as_a_verified_folder(pets: Path, own_places: Path) -> None:
    splits, _ = load(pets)
    folder = store_folders(own_places)[0]
    manifest = durable.verify_folder(folder)
    assert manifest["fingerprint"] == splits.fingerprint
    assert manifest["class_names"] == ["cat", "dog"]
    assert manifest["counts"] == {"train": 9}
    assert json.loads((folder / "manifest.json").read_text())["stored_size"] == 8


def test_a_cache_that_cannot_be_written_names_its_variable(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(ResourceError, match=r"cannot write .*XDG_CACHE_HOME") as caught:
        load(pets)
    assert "\n" not in str(caught.value)


def test_a_full_disk_while_decoding_leaves_nothing(
    pets: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(ResourceError, match=r"no space left .*XDG_CACHE_HOME"):
        load(pets)
    assert store_folders(own_places) == []


def test_a_full_disk_for_real_is_an_error_not_a_dead_process(pets: Path, tmp_path: Path) -> None:
    """A limit on file size stands for the disk; a written memory map would die of SIGBUS here."""
    code = (
        "import resource, signal, sys\n"
        "from pictorch.datasets import load_splits\n"
        "from pictorch.errors import ResourceError\n"
        "from pictorch.recipe import DataSection\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    load_splits(DataSection(source=sys.argv[1]))\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, pets], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no space left while writing")


def test_images_of_different_sizes_need_image_size(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "1.png", noise(8, 12))
    write_image(tmp_path / "a" / "2.png", noise(20, 8))
    write_image(tmp_path / "b" / "1.png", noise(9, 10))
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    for part in ("a/1.png has 8 pixels", "b/1.png is 10 x 9", "set data.image_size"):
        assert part in str(caught.value)
    (tmp_path / "b" / "1.png").unlink()
    write_image(tmp_path / "b" / "1.png", noise(8, 8))
    assert load(tmp_path)[0].input.stored_size == 8


def test_stored_size_is_the_largest_that_is_needed(tmp_path: Path) -> None:
    for index, side in enumerate([4, 6, 10]):
        write_image(tmp_path / "a" / f"{index}.png", noise(side, side + 3))
    write_image(tmp_path / "b" / "0.png", noise(5, 5))
    for image_size, stored_size, smaller in ((20, 10, 3), (10, 10, 3), (6, 6, 2), (3, 3, 0)):
        splits, lines = load(tmp_path, image_size)
        assert (splits.input.stored_size, splits.input.image_size) == (stored_size, image_size)
        assert splits.train.images.shape == (4, stored_size, stored_size, 3)
        said = f"{smaller} of 4 images are smaller than {stored_size} x {stored_size}: enlarged"
        assert any(said in line for line in lines) == bool(smaller)


def test_headers_are_read_only_until_the_size_is_known(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = decoding.side_in_header
    monkeypatch.setattr(decoding, "side_in_header", lambda data, **fit: seen.append(1) or real(data, **fit))
    load(pets, image_size=8)
    assert len(seen) == 1


def test_several_frames_are_said_once_for_all(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    frames = [Image.fromarray(noise(8, 8, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a" / "z.gif", save_all=True, append_images=frames[1:])
    for _ in range(2):
        _, lines = load(tmp_path)
        assert [line for line in lines if "several frames" in line] == [
            "1 of 3 images have several frames: the first is used"
        ]


def test_many_chunks_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_classes(tmp_path, {"a": 40, "b": 37}, side=4)
    whole, _ = load(folder)
    monkeypatch.setattr(decoding, "_CHUNK_BYTES", 3 * 4 * 4 * 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "elsewhere"))
    chunked, lines = load(folder)
    assert any("decoding" in line for line in lines)
    assert chunked.fingerprint == whole.fingerprint
    assert np.array_equal(chunked.train.images, whole.train.images)


def test_the_cache_is_bounded_and_keeps_what_was_used_last(
    tmp_path: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [
        write_classes(tmp_path / name, {"a": 40, "b": 40}, seed=place) for place, name in enumerate("xyz")
    ]
    first, _ = load(sources[0])
    (oldest,) = store_folders(own_places)
    load(sources[1])
    os.utime(oldest.with_suffix(".lock"), (1, 1))
    monkeypatch.setattr("pictorch.datasets.store.LARGEST_CACHE_BYTES", 2.5 * 80 * 8 * 8 * 3)
    before = first.train.images.copy()
    _, lines = load(sources[2])
    assert any("removed" in line for line in lines)
    assert not oldest.exists()
    assert len(store_folders(own_places)) == 2
    assert np.array_equal(first.train.images, before), "what is mapped stays"
    load(sources[1])
    assert load(sources[0])[0].fingerprint == first.fingerprint, "it is made again"
    monkeypatch.setattr("pictorch.datasets.store.LARGEST_CACHE_BYTES", 10)
    load(write_classes(tmp_path / "w", {"a": 3, "b": 3}, seed=9))
    assert len(store_folders(own_places)) == 1


def test_processes_that_need_the_same_store_make_it_once(pets: Path) -> None:
    code = (
        "import sys\n"
        "from pictorch.datasets import load_splits\n"
        "from pictorch.recipe import DataSection\n"
        "print(load_splits(DataSection(source=sys.argv[1]), lambda line: print(line[:8])).fingerprint)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, pets], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    lines = [line for process in running for line in process.communicate()[0].split()]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert lines.count("decoding") == 1
    assert len(set(lines) - {"decoding"}) == 1


@pytest.mark.skipif(not REAL_DATA, reason="PICTORCH_DATA names no CIFAR-10")
@pytest.mark.slow
def test_real_cifar10_opens_in_under_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTORCH_DATA", REAL_DATA)
    first, _ = load("cifar10")
    start = time.process_time()  # of this process alone: the machine may be busy
    second, lines = load("cifar10")
    seconds = time.process_time() - start
    assert lines == []
    assert (len(second.train), len(second.test or ())) == (50_000, 10_000)
    mean = second.train.images.reshape(-1, 3).mean(axis=0, dtype=np.float64) / 255
    assert mean == pytest.approx((0.49140, 0.48216, 0.44653), abs=1e-5)
    assert first.fingerprint == second.fingerprint
    assert seconds < 1.0


def test_remarks_hold_from_wherever_the_folder_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "notes.txt").write_text("x")
    _, first = load(pets)
    monkeypatch.chdir(pets)
    assert load("../pets")[1] == ["not used: 1 x file ending in .txt"] == first[-1:]


def test_a_store_in_the_making_is_not_evicted_and_one_that_is_gone_not_named(
    tmp_path: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "xy":
        load(write_classes(tmp_path / name, {"a": 9, "b": 9}, seed=ord(name)))
    held, gone = store_folders(own_places)
    shutil.rmtree(gone)
    monkeypatch.setattr("pictorch.datasets.store.LARGEST_CACHE_BYTES", 10)
    with held.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _, lines = load(write_classes(tmp_path / "z", {"a": 3, "b": 3}))
    assert held.exists()
    assert not any("removed" in line for line in lines)


@pytest.mark.slow
def test_processes_that_evict_each_others_stores_all_get_theirs(tmp_path: Path) -> None:
    roots = [write_classes(tmp_path / n, {"a": 9, "b": 9}, seed=ord(n)) for n in "wxyz"]
    code = (
        "import random, sys\n"
        "from pictorch.datasets import load_splits, store\n"
        "from pictorch.recipe import DataSection\n"
        "store.LARGEST_CACHE_BYTES = 10\n"
        "found = {root: set() for root in sys.argv[1:]}\n"
        "for turn in range(60):\n"
        "    root = random.choice(sys.argv[1:])\n"
        "    found[root].add(load_splits(DataSection(source=root)).fingerprint)\n"
        "assert all(len(each) <= 1 for each in found.values()), found\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, *roots], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
