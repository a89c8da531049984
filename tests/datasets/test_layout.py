"""Which folders are parts and classes, on the disk and in zips, and what is refused in one line."""

from pathlib import Path

import pytest

from made_data import noise, write_classes, write_image, zip_folder
from pictorch.datasets import Splits, load_splits
from pictorch.errors import DataError
from pictorch.recipe import DataSection


def load(source: Path, **data: object) -> tuple[Splits, list[str]]:
    lines: list[str] = []
    section = DataSection.model_validate(
        {"source": str(source), "val_fraction": 0.0, "test_fraction": 0.0, **data}
    )
    return load_splits(section, lines.append), lines


def refusal(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def counts(splits: Splits) -> dict[str, int]:
    return {name: len(split) for name, split in splits.named().items()}


def test_a_folder_of_classes_in_code_point_order(tmp_path: Path) -> None:
    splits, _ = load(write_classes(tmp_path, {"b": 2, "a-b": 1, "a": 3, "Z": 1, "ä": 1}))
    assert splits.class_names == ("Z", "a", "a-b", "b", "ä")
    assert splits.train.labels.tolist() == [0, 1, 1, 1, 2, 3, 3, 4]
    assert counts(splits) == {"train": 8}


@pytest.mark.parametrize("val_name", ["val", "valid", "validation", "Val"])
def test_train_val_test_with_one_class_order(val_name: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 2, "b": 2, "c": 1})
    write_classes(tmp_path / val_name, {"c": 1, "b": 1})
    write_classes(tmp_path / "test", {"c": 2})
    splits, _ = load(tmp_path, val_fraction=0.2)
    assert splits.class_names == ("a", "b", "c")
    assert counts(splits) == {"train": 5, "val": 2, "test": 2}
    assert splits.val is not None
    assert splits.test is not None
    assert splits.val.labels.tolist() == [1, 2]
    assert splits.test.labels.tolist() == [2, 2]


@pytest.mark.parametrize("top", ["", "pets/"])
@pytest.mark.parametrize("parts", [True, False])
def test_zips_hold_what_folders_hold(top: str, parts: bool, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_classes(folder / "train" if parts else folder, {"cat": 3, "dog": 2})
    if parts:
        write_classes(folder / "test", {"dog": 1})
    from_folder, _ = load(folder)
    from_zip, _ = load(zip_folder(folder, tmp_path / "pets.zip", top))
    assert from_zip.fingerprint == from_folder.fingerprint
    assert counts(from_zip) == counts(from_folder)
    assert from_zip.class_names == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    splits, _ = load(write_classes(tmp_path, {"car": 1, "plane": 1, "train": 1}))
    assert splits.class_names == ("car", "plane", "train")


def test_hidden_folders_and_files_are_nothing(tmp_path: Path) -> None:
    clean, _ = load(write_classes(tmp_path / "clean", {"a": 1, "b": 1}))
    folder = write_classes(tmp_path / "littered", {"a": 1, "b": 1})
    write_classes(folder, {".git": 1, "__MACOSX": 1})
    write_image(folder / "a" / ".hidden.png", noise(8, 8))
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (folder / "a" / name).write_bytes(b"x")
    for source in (folder, zip_folder(folder, tmp_path / "littered.zip")):
        splits, lines = load(source)
        assert splits.fingerprint == clean.fingerprint
        assert not any("not used" in line for line in lines)


def test_images_in_deeper_folders_belong_to_the_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "cat", {"images": 2})
    write_classes(tmp_path / "dog", {"images": 1})
    splits, _ = load(tmp_path)
    assert splits.train.labels.tolist() == [0, 0, 1]


def test_what_is_left_out_is_said_each_time(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path / "test", {"a": 1})
    write_classes(tmp_path / "drafts", {"a": 1})
    write_image(tmp_path / "train" / "loose.png", noise(8, 8))
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    (tmp_path / "train" / "b" / "README").write_text("x")
    for _ in range(2):
        splits, lines = load(tmp_path)
        text = "\n".join(lines)
        assert counts(splits) == {"train": 2, "test": 1}
        assert "not used: folders drafts" in text
        for part in ("1 x file ending in .txt", "1 x file without", "1 x image outside the class"):
            assert part in text


def test_empty_and_flat_folders(tmp_path: Path) -> None:
    assert "has no images in class folders" in refusal(tmp_path)
    write_image(tmp_path / "a.png", noise(8, 8))
    assert "has no images in class folders" in refusal(tmp_path)
    write_image(tmp_path / "only" / "a.png", noise(8, 8))
    assert "has one class only (only)" in refusal(tmp_path)


def test_one_class_in_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 1})
    write_classes(tmp_path / "test", {"a": 1})
    assert "has one class only (a)" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["val", "test"])
def test_classes_that_training_lacks_are_listed(part: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path / part, {"b": 1, "x": 1, "c": 1})
    assert f"classes in {part} but not in train: c, x;" in refusal(tmp_path)


def test_class_folders_without_images_are_listed(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    load(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "list.csv").write_text("x")
    assert "class folders without images: c, d (1 x file ending in .csv);" in refusal(tmp_path)
    zipped = zip_folder(tmp_path, tmp_path.parent / "x.zip")
    assert "class folders without images: c, d (1 x file" in refusal(zipped)


def test_parts_without_train_and_two_names_for_one_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "validation", {"a": 1, "b": 1})
    write_classes(tmp_path / "training", {"a": 1, "b": 1})
    assert "has training/, validation/ but no train/" in refusal(tmp_path)
    (tmp_path / "training").rename(tmp_path / "train")
    write_classes(tmp_path / "val", {"a": 1, "b": 1})
    assert "two folders for one part (val, validation)" in refusal(tmp_path)


def test_class_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b\udcff": 1})
    assert r"class folder b\udcff is no UTF-8" in refusal(tmp_path)
