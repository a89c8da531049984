"""What is opened in a folder or a zip, and what never is."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from made_data import noise, write_classes, write_image, zip_folder
from pictorch.datasets import load_splits
from pictorch.errors import DataError
from pictorch.recipe import DataSection


def section(source: Path) -> DataSection:
    return DataSection(source=str(source), val_fraction=0.0, test_fraction=0.0)


def refusal(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_splits(section(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_broken_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "001.png").write_bytes(b"")
    (tmp_path / "b" / "000.png").write_text("I am a text file\n")
    whole = (tmp_path / "b" / "002.png").read_bytes()
    (tmp_path / "b" / "002.png").write_bytes(whole[: len(whole) // 2])
    message = refusal(tmp_path)
    first = tmp_path / "a" / "001.png"
    assert message.startswith(f"3 of 6 images cannot be used, first {first}: the file is empty")
    (tmp_path / "a" / "001.png").unlink()
    message = refusal(zip_folder(tmp_path, tmp_path.parent / "broken.zip"))
    assert "2 of 5 images cannot be used" in message
    assert "broken.zip/b/000.png: not an image (it starts like text)" in message


def test_nothing_is_cached_of_a_source_with_broken_images(tmp_path: Path, own_places: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "000.png").write_bytes(b"")
    refusal(tmp_path)
    stores = own_places / "cache" / "pictorch" / "stores"
    assert [path for path in stores.iterdir() if path.suffix != ".lock"] == []


def test_links_to_files_are_followed_links_to_folders_and_pipes_are_not(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pets", {"a": 1, "b": 1})
    outside = write_image(tmp_path / "outside" / "x.png", noise(8, 8, 77))
    (folder / "a" / "link.png").symlink_to(outside)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "nowhere.png").symlink_to(tmp_path / "nothing")
    (folder / "b" / "to_pipe.png").symlink_to(folder / "b" / "pipe.png")
    os.mkfifo(folder / "b" / "pipe.png")
    lines: list[str] = []
    splits = load_splits(section(folder), lines.append)
    assert splits.train.labels.tolist() == [0, 0, 1]
    assert np.array_equal(splits.train.images[1], noise(8, 8, 77))
    assert any("4 x link to a folder or special file" in line for line in lines)


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})

    def swap(line: str) -> None:
        (tmp_path / "b" / "000.png").unlink(missing_ok=True)
        os.mkfifo(tmp_path / "b" / "000.png")

    with pytest.raises(DataError, match=r"1 of 2 .*b/000\.png: no regular file"):
        load_splits(section(tmp_path), swap)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(DataError, match=r"1 of 2 .*b/000\.png: cannot be read \(No such file"):
        load_splits(section(tmp_path), lambda line: (tmp_path / "b" / "000.png").unlink())


@pytest.mark.parametrize("kept", [0, 10, 400, -30])
def test_truncated_zip(kept: int, tmp_path: Path) -> None:
    path = zip_folder(write_classes(tmp_path / "x", {"a": 2, "b": 2}), tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path}: damaged or truncated zip" in refusal(path)


def test_a_zip_member_with_a_wrong_checksum_is_a_broken_image(tmp_path: Path) -> None:
    path = zip_folder(write_classes(tmp_path / "x", {"a": 2, "b": 2}), tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 0xFF
    path.write_bytes(data)
    message = refusal(path)
    assert "1 of 4 images cannot be used" in message
    assert "damaged in the zip (Bad CRC-32" in message


def test_encrypted_zip(tmp_path: Path) -> None:
    path = zip_folder(write_classes(tmp_path / "x", {"a": 1, "b": 1}), tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    while place >= 0:
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 1)
    path.write_bytes(data)
    assert "encrypted (a/); decrypt it first" in refusal(path)


def test_members_that_point_outside_are_names_and_nothing_more(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "x", {"a": 1, "b": 1})
    (tmp_path / "in").mkdir()
    path = zip_folder(folder, tmp_path / "in" / "x.zip")
    image = (folder / "a" / "000.png").read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../canary/x.png", image)
        archive.writestr("/b/absolute.png", image)
    splits = load_splits(section(path))
    assert splits.class_names == ("a", "b")
    assert len(splits.train) == 3
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in", "x"]


def test_a_zip_member_that_unpacks_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_folder(write_classes(tmp_path / "x", {"a": 1, "b": 1}), tmp_path / "x.zip")
    monkeypatch.setattr("pictorch.datasets.image_folder._LARGEST_FILE_BYTES", 1000)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/bomb.png", b"\0" * 10_000)
    assert "1 of 3 images cannot be used" in refusal(path)
    assert "b/bomb.png: more than 1,000 bytes" in refusal(path)


def test_imagenets_folders_upper_case_endings_and_deeper_images(tmp_path: Path) -> None:
    """As ILSVRC2012 has them, and Tiny-ImageNet, whose training images lie one folder deeper."""
    for number, synset in enumerate(("n01440764", "n01443537")):
        for path in (f"train/{synset}/1.JPEG", f"train/{synset}/images/2.JPG", f"val/{synset}/3.JPEG"):
            write_image(tmp_path / path, noise(8, 8, number))
        (tmp_path / "train" / synset / f"{synset}_boxes.txt").write_text("1.JPEG 0 0 8 8")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca")
    splits = load_splits(DataSection(source=str(tmp_path)))
    assert splits.class_names == ("n01440764", "n01443537")
    assert splits.val is not None
    assert splits.test is not None, "carved from train, for there is none"
    assert (len(splits.train), len(splits.val), len(splits.test)) == (2, 2, 2)
