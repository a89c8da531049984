"""Training images from one source, test images from another: classes are matched by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from made_data import MadeCifar, is_mapped, noise, write_classes, write_image, zip_folder
from pictorch.datasets import Splits, load_splits
from pictorch.datasets.cifar import CLASSES
from pictorch.datasets.sources import find_sources
from pictorch.errors import DataError
from pictorch.recipe import DataSection


def load(train: object, test: object, **data: object) -> tuple[Splits, list[str]]:
    lines: list[str] = []
    section = DataSection.model_validate(
        {"train": str(train), "test": str(test), "val_fraction": 0.0, **data}
    )
    return load_splits(section, lines.append), lines


def refusal(train: object, test: object) -> str:
    with pytest.raises(DataError) as caught:
        load(train, test)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shown_classes(splits: Splits) -> list[str]:
    assert splits.test is not None
    return [splits.class_names[label] for label in splits.test.labels[splits.test.indices]]


def test_a_folder_is_tested_on_a_zip_whose_classes_have_other_numbers(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "mine", {"ant": 3, "bee": 3, "cat": 3})
    test = zip_folder(
        write_classes(tmp_path / "theirs", {"bee": 2, "cat": 1}, seed=50), tmp_path / "theirs.zip"
    )
    splits, lines = load(train, test)
    assert splits.class_names == ("ant", "bee", "cat")
    assert (len(splits.train), shown_classes(splits)) == (9, ["bee", "bee", "cat"])
    assert splits.test is not None
    assert np.array_equal(splits.test.images[splits.test.indices[2]], noise(8, 8, 1050))
    assert splits.origin == f"image folder {train}, tested on zip {test}"
    said = "the test source has no images of ant: nothing says how well they are known"
    assert said in lines
    assert said in load(train, test)[1], "said at each use"


def test_a_folder_may_train_and_cifar10_test(tmp_path: Path) -> None:
    made = MadeCifar(2)
    train = write_classes(tmp_path / "mine", dict.fromkeys(reversed(CLASSES), 2), side=32)
    splits, _ = load(train, made.write_batches(tmp_path))
    assert splits.test is not None
    assert (len(splits.train), len(splits.test)) == (20, 2)
    assert np.array_equal(splits.test.images[splits.test.indices], made.images["test_batch"])
    assert shown_classes(splits) == [CLASSES[label] for label in made.labels["test_batch"]]


def test_the_part_test_of_the_other_source_is_used_and_the_own_one_is_not(tmp_path: Path) -> None:
    for name in ("first", "second"):
        for part, count in {"train": 4, "val": 2, "test": 3}.items():
            write_classes(tmp_path / name / part, {"a": count, "b": count}, seed=len(name) + count)
    splits, _ = load(tmp_path / "first", tmp_path / "second", val_fraction=0.2)
    alone = load_splits(DataSection(source=str(tmp_path / "second")))
    assert splits.val is not None
    assert splits.test is not None
    assert alone.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 4, 6)
    assert np.array_equal(splits.test.images[splits.test.indices], alone.test.images[alone.test.indices])


def test_it_is_the_folder_of_parts_that_holds_both(tmp_path: Path) -> None:
    """So a run with two sources is evaluated on one folder, wherever its images were moved."""
    train = write_classes(tmp_path / "a", {"x": 3, "y": 2})
    test = write_classes(tmp_path / "b", {"x": 1, "y": 2}, seed=77)
    fingerprint = load(train, test)[0].fingerprint
    shutil.copytree(train, tmp_path / "both" / "train")
    shutil.copytree(test, tmp_path / "both" / "test")
    section = DataSection(train=str(train), test=str(test))
    shutil.rmtree(train)
    assert load_splits(section, given=str(tmp_path / "both")).fingerprint == fingerprint
    with pytest.raises(DataError, match="a does not exist"):
        load_splits(section)


def test_a_changed_test_image_makes_another_source(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "a", {"x": 3, "y": 2})
    test = write_classes(tmp_path / "b", {"x": 1, "y": 2}, seed=77)
    section = DataSection(train=str(train), test=str(test))
    first, stamp = load(train, test)[0], find_sources(section, print).stamp
    assert stamp == find_sources(section, print).stamp
    write_image(test / "x" / "000.png", noise(8, 9))
    assert find_sources(section, print).stamp != stamp
    assert load(train, test, image_size=8)[0].fingerprint != first.fingerprint


def test_a_class_that_training_lacks_names_source_image_and_nearest_name(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "mine", {"poodle": 2, "cat": 2})
    test = write_classes(tmp_path / "theirs", {"cat": 1, "podle": 1, "zebra": 1})
    message = refusal(train, test)
    assert f"{test}: classes that the training source lacks: podle (did you mean poodle?), zebra" in message
    assert f"first {test}/podle/000.png; rename or remove them" in message


def test_numbers_on_one_side_and_words_on_the_other(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "mine", {"cat": 2, "dog": 2})
    test = write_classes(tmp_path / "theirs", {"0": 1, "1": 1})
    assert (
        f"classes are words (cat, dog) in image folder {train} and numbers (0, 1) in image folder {test}; "
        "name them alike in both"
    ) in refusal(train, test)


def test_a_source_that_only_tests_needs_no_train_and_no_second_class(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "mine", {"ant": 3, "bee": 3})
    write_classes(tmp_path / "theirs" / "test", {"bee": 2}, seed=50)
    assert shown_classes(load(train, tmp_path / "theirs")[0]) == ["bee", "bee"]
    listed = tmp_path / "theirs" / "list.csv"
    for end in (",test", ""):
        listed.write_text(f"test/bee/000.png,bee{end}\ntest/bee/001.png,bee{end}\n")
        assert shown_classes(load(train, listed)[0]) == ["bee", "bee"]
    listed.write_text("test/bee/000.png,bee\nnone.png,ant\n")
    assert shown_classes(load(train, listed, on_bad="skip")[0]) == ["bee"]
    assert "theirs has test/ but no train/" in refusal(tmp_path / "theirs", train)


def test_images_that_are_in_both_are_counted(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "mine", {"ant": 3, "bee": 3})
    listed = tmp_path / "list.csv"
    listed.write_text("mine/ant/000.png,ant\nmine/bee/001.png,bee\nother.png,bee\n")
    write_image(tmp_path / "other.png", noise(8, 9))
    said = f"2 of 3 test images are trained on too, first {train}/ant/000.png: they lift"
    assert any(line.startswith(said) for line in load(train, listed)[1])
    made = MadeCifar(2).write_batches(tmp_path)
    assert not any("trained on too" in line for line in load(made, made)[1])


def test_what_is_wrong_in_either_source_is_said(tmp_path: Path) -> None:
    good = write_classes(tmp_path / "good", {"cat": 2, "dog": 2})
    (tmp_path / "empty").mkdir()
    assert "empty has no images" in refusal(good, tmp_path / "empty")
    assert "empty has no images" in refusal(tmp_path / "empty", good)
    write_classes(tmp_path / "parts" / "train", {"cat": 2, "dog": 2})
    write_classes(tmp_path / "parts" / "val", {"cat": 2, "dog": 2})
    assert "parts has train, val and no test; name one of the two" in refusal(good, tmp_path / "parts")


def test_digits_may_be_one_of_the_two(tmp_path: Path) -> None:
    test = write_classes(tmp_path / "mine", {str(digit): 1 for digit in range(10)})
    splits, _ = load("digits", test)
    assert (len(splits.train), shown_classes(splits)) == (1797, [str(digit) for digit in range(10)])
    assert is_mapped(splits.train.images), "kept in the cache like any other"
