""".npz files: the names of arrays that people use, and everything that is not what it should be."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictorch.datasets import Splits, load_splits
from pictorch.errors import DataError
from pictorch.recipe import DataSection

COLOR = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), np.uint8)
GREY = COLOR[..., 0]
LABELS = np.array([0, 1, 2, 0, 1, 2])


def load(path: Path, **data: object) -> Splits:
    return load_splits(
        DataSection.model_validate({"source": str(path), "val_fraction": 0.0, "test_fraction": 0.0, **data})
    )


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def refusal(path: Path, **arrays: Any) -> str:
    if arrays:
        saved(path, **arrays)
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_images_and_labels(place: Path) -> None:
    splits = load(saved(place / "a.npz", images=COLOR, labels=LABELS[:, np.newaxis]))
    assert splits.class_names == ("0", "1", "2")
    assert np.array_equal(splits.train.images, COLOR)
    assert splits.train.labels.tolist() == LABELS.tolist()
    assert splits.origin == f"arrays {place / 'a.npz'}"
    assert load(saved(place / "b.npz", images=COLOR, labels=LABELS)).fingerprint == splits.fingerprint


def test_grey_becomes_rgb_and_numbers_get_names(place: Path) -> None:
    path = saved(
        place / "a.npz", images=GREY, labels=LABELS.astype(np.uint8), class_names=["猫", "dog", "bee"]
    )
    splits = load(path)
    assert splits.class_names == ("猫", "dog", "bee")
    assert np.array_equal(splits.train.images, np.repeat(GREY[..., np.newaxis], 3, 3))


@pytest.mark.parametrize("kind", [str, bytes])
def test_labels_may_be_text(kind: type, place: Path) -> None:
    texts = np.array(["dog", "cat", "dog", "cat", "cat", "cat"])
    labels = texts if kind is str else np.char.encode(texts)
    splits = load(saved(place / "a.npz", images=COLOR, labels=labels))
    assert splits.class_names == ("cat", "dog")
    assert [splits.class_names[label] for label in splits.train.labels] == texts.tolist()


@pytest.mark.parametrize(
    "names",
    [
        {part: (f"{part}_images", f"{part}_labels") for part in ("train", "val", "test")},
        {part: (f"x_{part}", f"y_{part}") for part in ("train", "test")},
    ],
)
def test_the_parts_of_medmnist_and_keras(names: dict[str, tuple[str, str]], place: Path) -> None:
    arrays: dict[str, Any] = {}
    for number, (images, labels) in enumerate(names.values()):
        arrays |= {images: np.roll(GREY, number, 0), labels: np.roll(LABELS, number)[:, np.newaxis]}
    splits = load(saved(place / "a.npz", **arrays), val_fraction=0.1).named()
    for part, (images, labels) in names.items():
        if part != "train" or "val" in names:
            rows = splits[part].indices
            assert np.array_equal(splits[part].images[rows][..., 0], arrays[images])
            assert splits[part].labels[rows].tolist() == arrays[labels].ravel().tolist()


def test_another_file_under_the_same_name_is_read_anew(place: Path) -> None:
    first = load(saved(place / "a.npz", images=COLOR, labels=LABELS))
    second = load(saved(place / "a.npz", images=COLOR[::-1], labels=LABELS[::-1], more=np.zeros(3)))
    assert np.array_equal(second.train.images, COLOR[::-1])
    assert first.fingerprint != second.fingerprint


def test_pickled_objects_are_refused_and_not_run(place: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (place / "canary",)

    objects = np.array([Canary(), None], object)
    assert "cannot be read as .npz (Object arrays cannot be loaded" in refusal(
        place / "a.npz", images=COLOR, labels=objects
    )
    (place / "b.npz").write_bytes(pickle.dumps(Canary()))
    assert "cannot be read as .npz (File is not a zip file); save plain arrays" in refusal(place / "b.npz")
    assert not (place / "canary").exists()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_file(kept: float, place: Path) -> None:
    data = saved(place / "a.npz", images=COLOR, labels=LABELS).read_bytes()
    (place / "a.npz").write_bytes(data[: int(len(data) * kept)])
    assert "cannot be read as .npz" in refusal(place / "a.npz")


def test_a_flipped_bit(place: Path) -> None:
    data = bytearray(saved(place / "a.npz", images=COLOR, labels=LABELS).read_bytes())
    data[200] ^= 255
    (place / "a.npz").write_bytes(data)
    assert "cannot be read as .npz" in refusal(place / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"pixels": COLOR, "labels": LABELS}, " lacks images; save images and labels"),
        ({"images": COLOR}, " lacks labels; save"),
        ({"data": COLOR}, " has the arrays data; call them images and labels"),
        ({"test_images": COLOR, "test_labels": LABELS}, "call them images and labels, or train_images"),
        ({"images": COLOR / 255, "labels": LABELS}, ": images are float64 (6, 5, 5, 3); give uint8"),
        ({"images": COLOR, "labels": LABELS[:5]}, ": labels are int64 (5,) for 6 images"),
        ({"images": COLOR, "labels": LABELS + 1}, ": labels are 1, 2, 3; give each"),
        ({"images": COLOR, "labels": np.eye(6)}, ": labels are float64 (6, 6) for 6 images; give integers"),
        ({"images": COLOR, "labels": LABELS, "class_names": ["a"]}, ": class names are 'a' for 3 classes"),
        (
            {"x_train": COLOR, "y_train": LABELS, "x_test": COLOR, "y_test": LABELS + 1},
            ": y_test has classes that training lacks (3) for 6 images",
        ),
        (
            {"x_train": COLOR, "y_train": list("abcabc"), "x_test": COLOR[:2], "y_test": ["a", "aa"]},
            ": y_test has classes that training lacks (aa (did you mean a?)) for 2 images",
        ),
        (
            {"x_train": COLOR, "y_train": LABELS, "x_test": COLOR, "y_test": LABELS[:2]},
            ": y_test has labels (2,) for 6 images; correct the labels",
        ),
        (
            {"x_train": COLOR, "y_train": LABELS, "x_test": COLOR, "y_test": np.eye(6, dtype=int)},
            ": y_test has labels (6, 6) for 6 images",
        ),
        (
            {"x_train": COLOR, "y_train": LABELS, "x_test": COLOR, "y_test": np.uint8(1)},
            ": y_test has labels () for 6 images",
        ),
    ],
)
def test_what_is_wrong_is_said(arrays: dict[str, Any], says: str, place: Path) -> None:
    assert says in refusal(place / "a.npz", **arrays)
