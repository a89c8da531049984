"""CIFAR-100 from its archive and its files: 100 fine classes in the official order."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from made_data import noise, python2_pickle
from pictorch.datasets import Splits, load_splits
from pictorch.datasets.cifar import CIFAR100
from pictorch.datasets.sources import find_source, fitting_recipe
from pictorch.errors import DataError
from pictorch.recipe import DataSection

NAMES = sorted(["apple", "aquarium_fish", *(f"thing_{number:02d}" for number in range(98))])
IMAGES = np.stack([noise(32, 32, seed) for seed in range(220)])
FINE = [row % 100 for row in range(220)]


def files() -> dict[str, bytes]:
    made = {"meta": {b"fine_label_names": [name.encode() for name in NAMES], b"coarse_label_names": [b"x"]}}
    for name, rows in {"train": slice(0, 200), "test": slice(200, 220)}.items():
        images = IMAGES[rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
        made[name] = {b"data": images, b"fine_labels": FINE[rows], b"coarse_labels": [0] * len(images)}
    return {name: python2_pickle(record) for name, record in made.items()}


def write_folder(parent: Path, **changed: bytes | None) -> Path:
    folder = parent / CIFAR100.folder
    folder.mkdir(parents=True)
    for name, data in {**files(), **changed}.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return folder


def write_archive(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(parent / CIFAR100.archive, "w:gz") as archive:
        for name, data in files().items():
            member = tarfile.TarInfo(f"{CIFAR100.folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return parent / CIFAR100.archive


def load(source: object = "cifar100") -> tuple[Splits, list[str]]:
    lines: list[str] = []
    return load_splits(DataSection(source=str(source), val_fraction=0.0), lines.append), lines


def refusal(source: object) -> str:
    with pytest.raises(DataError) as caught:
        load(source)
    return str(caught.value)


def test_archive_files_and_parent_hold_the_same(place: Path) -> None:
    archive, folder = write_archive(place / "a"), write_folder(place / "b")
    (place / "a" / CIFAR100.archive).rename(place / "a" / "renamed.tar.gz")
    fingerprints = set()
    for source in (archive.with_name("renamed.tar.gz"), folder, folder.parent):
        splits, _ = load(source)
        assert splits.test is not None
        assert splits.class_names == tuple(NAMES)
        assert np.array_equal(splits.train.images[splits.train.indices], IMAGES[:200])
        assert np.array_equal(splits.test.images[splits.test.indices], IMAGES[200:])
        assert splits.train.labels.tolist() == FINE[:200]
        assert splits.origin.startswith("CIFAR-100 ")
        fingerprints.add(splits.fingerprint)
    assert len(fingerprints) == 1


def test_places_are_searched_in_order(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "put https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz into" in refusal("cifar100")
    cached = write_archive(own_places / "cache" / "pictorch" / "data")
    splits, lines = load()
    assert splits.origin == f"CIFAR-100 archive {cached}"
    assert any("is not the official archive" in line for line in lines)
    write_folder(own_places / "data")
    assert load()[0].origin == "CIFAR-100 batches data/cifar-100-python"
    named = write_folder(own_places / "named")
    for place in (named, named.parent):
        monkeypatch.setenv("PICTORCH_DATA", str(place))
        assert load()[0].origin == f"CIFAR-100 batches {named}"


def test_what_is_wrong_is_said(place: Path) -> None:
    images = np.zeros((2, 3072), np.uint8)
    for number, (file, data, says) in enumerate(
        [
            ("test", None, "is incomplete, it lacks test; remove this copy and give `--data cifar100`"),
            ("meta", python2_pickle({b"fine_label_names": [b"a"]}), "meta has no 100 fine_label_names"),
            (
                "train",
                python2_pickle({b"data": images, b"fine_labels": [1, 100]}),
                "label that is not 0 to 99",
            ),
            (
                "train",
                python2_pickle({b"data": images, b"coarse_labels": [1, 2]}),
                "not one label for each image",
            ),
            ("train", pickle.dumps({"data": print}), "asks for builtins.print"),
            ("train", files()["train"][:-50], "damaged or truncated pickle"),
        ]
    ):
        message = refusal(write_folder(place / str(number), **{file: data}))
        assert says in message
        assert "remove this copy and give `--data cifar100`" in message


def test_a_class_folder_beside_a_file_called_meta_is_no_cifar(place: Path) -> None:
    (place / "meta").write_bytes(b"mine")
    assert "has no images in class folders" in refusal(place)


def test_the_recipe_to_begin_with(place: Path) -> None:
    source = find_source(str(write_folder(place)), print)
    with source.open() as contents:
        assert fitting_recipe(source, contents) == "cifar10-cnn"
