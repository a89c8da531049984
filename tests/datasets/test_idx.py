"""MNIST and Fashion-MNIST in their official files; damaged, incomplete, and not what they say."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_idx import IMAGES, LABELS, NAMES, idx, write_idx
from pictorch.datasets import Splits, load_splits
from pictorch.datasets import idx as idx_files
from pictorch.datasets.sources import find_source, fitting_recipe
from pictorch.errors import DataError
from pictorch.recipe import DataSection


def load(source: object = "mnist") -> Splits:
    return load_splits(DataSection(source=str(source), val_fraction=0.0))


def refusal(source: object) -> str:
    with pytest.raises(DataError) as caught:
        load(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_holds(splits: Splits) -> None:
    assert splits.test is not None
    for split, rows in ((splits.train, slice(20)), (splits.test, slice(20, 32))):
        grey = np.repeat(IMAGES[rows][..., np.newaxis], 3, axis=3)
        assert np.array_equal(split.images[split.indices], grey)
        assert split.labels.tolist() == LABELS[rows].tolist()


def test_every_spelling_holds_the_same(place: Path) -> None:
    fingerprints = set()
    for number, packed in enumerate((False, True)):
        for spelling in (str, lambda name: name.replace("-idx", ".idx")):
            folder = write_idx(place / f"{number}{spelling('-idx')}", spelling, packed=packed)
            splits = load(folder)
            assert_holds(splits)
            assert splits.class_names == tuple("0123456789")
            assert splits.input.stored_size == 28
            fingerprints.add(splits.fingerprint)
    assert len(fingerprints) == 1


def test_torchvisions_folders_and_one_of_the_files(place: Path) -> None:
    raw = write_idx(place / "MNIST" / "raw")
    for source in (raw, raw.parent, raw / NAMES[2]):
        assert load(source).origin == f"MNIST {raw}"
    fashion = write_idx(place / "FashionMNIST" / "raw", packed=True)
    assert load(fashion.parent).class_names[0] == "T-shirt/top"
    assert load(fashion.parent).class_names[9] == "Ankle boot"
    assert load(fashion / f"{NAMES[0]}.gz").origin == f"Fashion-MNIST {fashion}"


def test_names_are_looked_for_in_order(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = write_idx(own_places / "cache" / "pictorch" / "data" / "mnist", packed=True)
    assert load().origin == f"MNIST {cached}"
    write_idx(own_places / "data" / "MNIST" / "raw", t10k_labels=None)
    assert load().origin == f"MNIST {cached}", "an incomplete copy is passed over"
    write_idx(own_places / "data" / "MNIST" / "raw")
    assert load().origin == "MNIST data/MNIST/raw"
    named = write_idx(own_places / "named")
    monkeypatch.setenv("PICTORCH_DATA", str(named))
    assert load().origin == f"MNIST {named}"
    write_idx(named / "FashionMNIST" / "raw")
    assert load("fashion_mnist").origin == f"Fashion-MNIST {named / 'FashionMNIST' / 'raw'}"


def test_not_found_and_offline_names_the_file_and_the_way_by_hand(own_places: Path) -> None:
    for name, address in (("mnist", "https://ossci-datasets"), ("fashion_mnist", "http://fashion-mnist.s3")):
        message = refusal(name)
        assert message.startswith("train-images-idx3-ubyte.gz is not in data, ")
        assert f"put {address}" in message
        assert f"into {own_places}/cache/pictorch/data/{name.replace('_', '-')}" in message


def test_only_what_is_missing_is_downloaded(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pictorch.download

    asked = []

    def fetch(file: pictorch.download.RemoteFile, folder: Path, *_: object, **__: object) -> Path:
        asked.append((file.name, file.size_bytes))
        written = write_idx(own_places / "mirror", packed=True) / file.name
        assert file.mirrors == (f"https://here/{file.name}",)
        assert file.digest == hashlib.md5(written.read_bytes()).hexdigest()
        return written.rename(folder / file.name)

    mirror = write_idx(own_places / "mirror", packed=True)
    data = [(mirror / f"{name}.gz").read_bytes() for name in NAMES]
    published = tuple((len(one), hashlib.md5(one).hexdigest()) for one in data)
    monkeypatch.setattr(
        idx_files, "MNIST", replace(idx_files.MNIST, address="https://here/", published=published)
    )
    monkeypatch.setattr(pictorch.download, "download", fetch)
    write_idx(
        own_places / "cache" / "pictorch" / "data" / "mnist", packed=True, t10k_images=None, t10k_labels=None
    )
    assert_holds(load())
    assert asked == [(f"{NAMES[2]}.gz", len(data[2])), (f"{NAMES[3]}.gz", len(data[3]))]


def test_published_sizes_and_sums_are_those_that_torchvision_knows() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for kind, theirs in ((idx_files.MNIST, datasets.MNIST), (idx_files.FASHION_MNIST, datasets.FashionMNIST)):
        assert [
            (f"{name}.gz", md5) for name, (_, md5) in zip(NAMES, kind.published, strict=True)
        ] == theirs.resources
        assert kind.address in theirs.mirrors
    assert list(idx_files.FASHION_MNIST.class_names) == datasets.FashionMNIST.classes


def test_an_incomplete_folder(place: Path) -> None:
    folder = write_idx(place, t10k_labels=None)
    assert f"{folder} is incomplete, it lacks t10k-labels-idx1-ubyte; add them" in refusal(folder)


@pytest.mark.parametrize(
    ("file", "data", "says"),
    [
        ("train_images", idx(IMAGES[:20])[:-1], "has 15,679 bytes behind its head, which says 15,680"),
        ("train_images", idx(IMAGES[:20]) + b"\0", "has more bytes behind its head, which says 15,680"),
        ("train_images", b"", "is no idx file of 3 dimensions"),
        (
            "train_images",
            idx(LABELS[:20]),
            "is no idx file of 3 dimensions (it starts with the bytes 00 00 08 01)",
        ),
        ("train_images", b"\0\0\x08\x03" + b"\xff" * 12, "is no idx file of 3 dimensions"),
        (
            "t10k_labels",
            b"<html>nothing here",
            "is no idx file of 1 dimensions (it starts with the bytes 3c 68",
        ),
        ("t10k_labels", idx(LABELS[20:31]), "has 11 labels for 12 images; copy both again"),
        ("t10k_labels", idx(LABELS[20:] + 5), "label 10 of image 5 is not 0 to 9"),
    ],
)
def test_files_with_wrong_content(file: str, data: bytes, says: str, place: Path) -> None:
    for packed in (False, True):
        message = refusal(write_idx(place / str(packed), packed=packed, **{file: data}))
        assert says in message
        assert file.replace("_", "-") in message


def test_a_damaged_gzip(place: Path) -> None:
    folder = write_idx(place, packed=True)
    path = folder / f"{NAMES[0]}.gz"
    whole = path.read_bytes()
    for data in (whole[:-9], whole[:40] + b"\xff\xff" + whole[42:], idx(IMAGES[:20])):
        path.write_bytes(data)
        assert f"{path}: damaged or truncated gzip" in refusal(folder)


def test_a_bomb_is_not_unpacked(place: Path) -> None:
    folder = write_idx(place, packed=True)
    (folder / f"{NAMES[1]}.gz").write_bytes(gzip.compress(idx(LABELS[:20]) + bytes(50_000_000)))
    assert "has more bytes behind its head, which says 20" in refusal(folder)


def test_the_recipe_to_begin_with(place: Path) -> None:
    for folder, recipe in (("MNIST", "digits"), ("fashion", "cifar10-cnn")):
        source = find_source(str(write_idx(place / folder)), print)
        with source.open() as contents:
            assert fitting_recipe(source, contents) == recipe
