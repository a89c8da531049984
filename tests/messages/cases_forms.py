"""Sources in other people's forms that cannot be used: idx files, CIFAR-100, .npz, and two that do not match."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from made_data import noise, write_classes
from made_idx import IMAGES, LABELS, idx, write_idx
from messages.case import Case, Setup, again, instead
from messages.faults import ordinary_rights
from messages.material import RECIPE, recipe

TRAIN = "train small.yaml -q --out out"
TWO = RECIPE.replace("source: photos", "train: photos, test: theirs")
COLOR = np.stack([noise(8, 8, seed) for seed in range(30)])
NUMBERS = np.arange(30) % 3


def idx_case(name: str, names: str, **files: bytes | None) -> Case:
    """A case of MNIST's files in the folder mnist, one of which is another; the right ones take its place."""
    setup = lambda: (recipe(), write_idx(Path("mnist"), **files))  # noqa: E731
    return Case(name, f"{TRAIN} --data ./mnist", 3, names, again(lambda: write_idx(Path("mnist"))), setup)


def packed_idx() -> None:
    recipe()
    path = write_idx(Path("mnist"), packed=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])


def whole_idx() -> None:
    shutil.rmtree("mnist")
    write_idx(Path("mnist"))


def saved(**arrays: Any) -> Callable[[], None]:
    return lambda: np.savez("data.npz", **arrays)


RIGHT = saved(images=COLOR, labels=NUMBERS)


def npz(name: str, names: str, make: Setup) -> Case:
    """A case of data.npz, written by `make`; plain arrays take its place."""
    return Case(
        name, f"{TRAIN} --data data.npz", 3, names, again(RIGHT), lambda: (recipe(), make())
    )  # fmt: skip


def two(name: str, names: str, make: Setup, mend: Setup) -> Case:
    """A case of the images in `photos` tested on those in `theirs`, which `make` writes."""
    return Case(name, TRAIN, 3, names, again(mend), lambda: (recipe(TWO), make()))


def theirs(*names: str) -> Setup:
    return lambda: write_classes(Path("theirs"), dict.fromkeys(names, 2), seed=500)


def renamed(old: str, new: str) -> Setup:
    return lambda: Path("theirs", old).rename(Path("theirs", new))


def only_val() -> None:
    write_classes(Path("theirs/train"), {"red": 2, "blue": 2})
    write_classes(Path("theirs/val"), {"red": 2, "blue": 2})


# fmt: off
CASES = [
    idx_case("missing idx file", "mnist is incomplete, it lacks t10k-labels-idx1-ubyte", t10k_labels=None),
    idx_case("idx file that is a web page", "train-images-idx3-ubyte is no idx file of 3 dimensions (it starts with the bytes 3c 68 74 6d)", train_images=b"<html><p>not found"),
    idx_case("idx file that is cut off", "has 15,580 bytes behind its head, which says 15,680", train_images=idx(IMAGES[:20])[:-100]),
    idx_case("fewer labels than images", "t10k-labels-idx1-ubyte has 3 labels for 12 images", t10k_labels=idx(LABELS[:3])),
    idx_case("label beyond the classes", "t10k-labels-idx1-ubyte: label 10 of image 5", t10k_labels=idx(LABELS[20:] + 5)),
    Case("gzip that is cut off", f"{TRAIN} --data ./mnist", 3, "train-images-idx3-ubyte.gz: damaged or truncated gzip", again(whole_idx), packed_idx),
    Case("idx file without rights", f"{TRAIN} --data ./mnist", 3, "t10k-images-idx3-ubyte cannot be read", again(lambda: Path("mnist/t10k-images-idx3-ubyte").chmod(0o600)), lambda: (recipe(), (write_idx(Path("mnist")) / "t10k-images-idx3-ubyte").chmod(0)), ordinary_rights),
    npz("npz that is none", "data.npz cannot be read as .npz (File is not a zip file)", lambda: Path("data.npz").write_text("hello")),
    npz("npz of objects", "data.npz cannot be read as .npz (Object arrays", saved(images=COLOR, labels=np.array([None] * 30))),
    npz("npz of other names", "data.npz has the arrays pixels, y", saved(pixels=COLOR, y=NUMBERS)),
    npz("npz without labels", "data.npz lacks labels", saved(images=COLOR)),
    npz("npz of float images", "data.npz: images are float64 (30, 8, 8, 3)", saved(images=COLOR / 255, labels=NUMBERS)),
    npz("npz of labels in two columns", "data.npz: labels are int64 (30, 2) for 30 images", saved(images=COLOR, labels=np.stack([NUMBERS, NUMBERS], 1))),
    npz("npz of labels with a gap", "data.npz: labels are 0, 2, 4", saved(images=COLOR, labels=2 * NUMBERS)),
    npz("npz with too few class names", "data.npz: class names are 'a', 'b' for 3 classes", saved(images=COLOR, labels=NUMBERS, class_names=["a", "b"])),
    npz("npz with a class in test only", "data.npz: test_labels has classes that training lacks (3)", saved(train_images=COLOR, train_labels=NUMBERS, test_images=COLOR, test_labels=NUMBERS + 1)),
    two("class in the test source only", "theirs: classes that the training source lacks: rad (did you mean red?), first ", theirs("rad", "blue"), renamed("rad", "red")),
    two("numbers and words", "theirs; name them alike in both", theirs("0", "1"), lambda: (renamed("0", "blue")(), renamed("1", "red")())),
    two("test source without test", "theirs has train, val and no test", only_val, lambda: Path("theirs/val").rename("theirs/test")),
    Case("test source that is not there", f"{TRAIN} --set data.test=./theirs", 3, "./theirs does not exist", instead(f"{TRAIN} --set data.test=photos", says="give a path that does"), lambda: recipe(TWO)),
]
# fmt: on
