"""CIFAR-10 from its archive, its batches and image folders; damaged, incomplete, and not the official one."""

import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_data import MadeCifar, python2_pickle, write_classes
from pictorch.datasets import Splits, cifar, load_splits
from pictorch.datasets.cifar import CIFAR10, CLASSES
from pictorch.errors import DataError
from pictorch.recipe import DataSection

REAL_DATA = os.environ.get("PICTORCH_DATA", "")


def load(source: object = "cifar10", **data: object) -> tuple[Splits, list[str]]:
    lines: list[str] = []
    section = DataSection.model_validate({"source": str(source), "val_fraction": 0.0, **data})
    return load_splits(section, lines.append), lines


def refusal(source: object) -> str:
    with pytest.raises(DataError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_holds(splits: Splits, made: MadeCifar) -> None:
    assert splits.class_names == CLASSES
    assert splits.test is not None
    assert np.array_equal(splits.train.images[splits.train.indices], made.train_images())
    assert np.array_equal(splits.test.images[splits.test.indices], made.images["test_batch"])
    labels = [label for number in range(1, 6) for label in made.labels[f"data_batch_{number}"]]
    assert splits.train.labels.tolist() == labels
    assert splits.test.labels.tolist() == made.labels["test_batch"]


def test_archive_batches_and_parent_hold_the_same(tmp_path: Path) -> None:
    made = MadeCifar()
    archive, batches = made.write_archive(tmp_path / "a"), made.write_batches(tmp_path / "b")
    fingerprints = set()
    for source in (archive, batches, batches.parent):
        splits, _ = load(source)
        assert_holds(splits, made)
        assert splits.input.stored_size == splits.input.image_size == 32
        assert str(tmp_path) in splits.origin
        fingerprints.add(splits.fingerprint)
    assert len(fingerprints) == 1


def test_another_archive_is_called_not_official_each_time(tmp_path: Path) -> None:
    archive = MadeCifar().write_archive(tmp_path)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    for _ in range(2):
        assert f"{archive} is not the official archive (md5 {md5})" in load(archive)[1]


def test_the_official_md5_gets_no_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MadeCifar().write_archive(tmp_path)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar, "CIFAR10", replace(CIFAR10, archive_md5=md5))
    assert not any("official" in line for line in load(archive)[1])


def test_batches_that_python_3_wrote(tmp_path: Path) -> None:
    made = MadeCifar()
    for name, images in made.images.items():
        data = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
        made.files[name] = pickle.dumps({"data": data, "labels": made.labels[name]})
    made.files["batches.meta"] = pickle.dumps({"label_names": list(CLASSES)})
    assert_holds(load(made.write_batches(tmp_path))[0], made)


def test_labels_follow_the_names_not_the_numbers(tmp_path: Path) -> None:
    made = MadeCifar()
    backwards = [name.encode() for name in reversed(CLASSES)]
    made.files["batches.meta"] = python2_pickle({b"label_names": backwards})
    splits, _ = load(made.write_batches(tmp_path))
    assert splits.class_names == CLASSES
    assert splits.test is not None
    assert splits.test.labels.tolist() == [9 - label for label in made.labels["test_batch"]]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_truncated_archive(kept: float, tmp_path: Path) -> None:
    archive = MadeCifar().write_archive(tmp_path)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * kept)])
    message = refusal(archive)
    assert message.startswith(f"{archive}: damaged or truncated archive")
    assert "remove this copy and give `--data cifar10`" in message


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("bytes_kept", [0, 40, -1])
def test_truncated_batch(name: str, bytes_kept: int, tmp_path: Path) -> None:
    folder = MadeCifar().write_batches(tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:bytes_kept])
    message = refusal(folder)
    assert message.startswith(f"{folder}: {name}: damaged or truncated pickle")
    assert "remove this copy and give `--data cifar10`" in message


@pytest.mark.parametrize("name", ["data_batch_5", "test_batch", "batches.meta"])
def test_missing_batch(name: str, tmp_path: Path) -> None:
    made = MadeCifar()
    del made.files[name]
    for source in (made.write_archive(tmp_path), made.write_batches(tmp_path)):
        assert f"{source} is incomplete, it lacks {name}; remove this copy" in refusal(source)


def test_batches_with_wrong_content(tmp_path: Path) -> None:
    images = np.zeros((2, 3072), dtype=np.uint8)
    for number, (record, says) in enumerate(
        [
            ({b"data": images[:, :5], b"labels": [1, 2]}, "no images of 3 x 32 x 32"),
            ({b"labels": [1, 2]}, "no images of 3 x 32 x 32"),
            ({b"data": images, b"labels": [1]}, "not one label for each image"),
            ({b"data": images, b"labels": [1, 10]}, "label that is not 0 to 9"),
        ]
    ):
        made = MadeCifar()
        made.files["data_batch_2"] = python2_pickle(record)
        assert says in refusal(made.write_batches(tmp_path / str(number)))


def test_a_malicious_batch_in_an_archive_is_refused_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    made = MadeCifar()
    made.files["data_batch_1"] = b"\x80\x02cposix\nmkdir\n(" + pickle.dumps(str(canary), 0)[:-1] + b"tR."
    message = refusal(made.write_archive(tmp_path))
    assert "asks for posix.mkdir" in message
    assert not canary.exists()


def test_only_allowed_members_are_read_and_none_is_unpacked(tmp_path: Path) -> None:
    made = MadeCifar()
    path = made.write_archive(tmp_path / "in")
    with tarfile.open(tmp_path / "in" / "b.tar", "w") as archive:
        for name in ("../canary", f"{CIFAR10.folder}/../canary", "/tmp/canary"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo(f"{CIFAR10.folder}/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        with tarfile.open(path) as official:
            for official_member in official:
                archive.addfile(official_member, official.extractfile(official_member))
    assert_holds(load(tmp_path / "in" / "b.tar")[0], made)
    assert sorted(os.listdir(tmp_path)) == ["in"]
    assert sorted(os.listdir(tmp_path / "in")) == ["b.tar", "cifar-10-python.tar.gz"]


def test_a_member_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_LARGEST_BATCH_BYTES", 1000)
    made = MadeCifar()
    assert "too large for a batch" in refusal(made.write_archive(tmp_path))
    assert "too large for a batch" in refusal(made.write_batches(tmp_path))


def test_another_tar_is_told_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("cat"))
    assert "holds no batches of CIFAR-10" in refusal(tmp_path / "pictures.tar")


def test_places_are_searched_in_order(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = own_places / "named"
    MadeCifar(2).write_archive(own_places / "cache" / "pictorch" / "data")
    assert load()[0].origin.endswith("cache/pictorch/data/cifar-10-python.tar.gz")
    MadeCifar(3).write_batches(own_places / "data")
    assert load()[0].origin.endswith("data/cifar-10-batches-py")
    monkeypatch.setenv("PICTORCH_DATA", str(named))
    assert "PICTORCH_DATA" in refusal("cifar10")
    for part in ("train", "test"):
        write_classes(named / "cifar10" / part, dict.fromkeys(CLASSES, 1), side=32)
    assert load()[0].origin == f"image folder {named / 'cifar10'}"
    monkeypatch.setenv("PICTORCH_DATA", str(named / "cifar10"))
    assert load()[0].origin == f"image folder {named / 'cifar10'}"
    batches = MadeCifar(4).write_batches(named)
    monkeypatch.setenv("PICTORCH_DATA", str(batches))
    assert load()[0].origin == f"CIFAR-10 batches {batches}"


def test_a_folder_called_cifar10_without_its_classes_is_refused(own_places: Path) -> None:
    write_classes(own_places / "data" / "cifar10" / "train", {"cat": 1, "dog": 1})
    assert "it lacks train/airplane" in refusal("cifar10")


def test_not_found_and_offline_names_places_and_the_way_by_hand(own_places: Path) -> None:
    message = refusal("cifar10")
    for part in (
        "data,",
        str(own_places / "cache" / "pictorch" / "data"),
        "PICTORCH_OFFLINE",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ):
        assert part in message


@pytest.mark.skipif(not REAL_DATA, reason="PICTORCH_DATA names no CIFAR-10")
def test_real_images_survive_the_official_layout(tmp_path: Path) -> None:
    """The batches are made from real PNGs, so both ways must give the same pixels and labels."""
    root = Path(REAL_DATA) / "cifar10"
    made = MadeCifar(1)
    chosen = [sorted((root / "test" / name).iterdir())[:2] for name in CLASSES]
    images = np.stack([np.asarray(Image.open(path)) for paths in chosen for path in paths])
    made.put("test_batch", images, [label for label in range(10) for _ in range(2)])
    for label, paths in enumerate(chosen):
        for path in paths:
            for part in ("train", "test"):
                copy = tmp_path / "pngs" / part / CLASSES[label] / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    from_batches, from_pngs = load(made.write_archive(tmp_path))[0].test, load(tmp_path / "pngs")[0].test
    assert from_batches is not None
    assert from_pngs is not None
    assert np.array_equal(from_batches.images, from_pngs.images)
    assert np.array_equal(from_batches.labels, from_pngs.labels)
