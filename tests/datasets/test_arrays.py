"""Arrays given in Python give the splits that the same images give in files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from made_data import noise
from pictorch.datasets import Splits, load_splits
from pictorch.recipe import DataSection

LABELS = np.repeat(np.arange(3), 6)
IMAGES = np.stack([noise(8, 8, seed) for seed in range(18)])
SECTION = DataSection(source="object:arrays")


def test_they_equal_the_same_images_in_a_folder() -> None:
    names = ("blue", "green", "red")
    for row, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = Path("photos", names[label], f"{row:02d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    files = load_splits(DataSection(source="photos"))
    arrays = load_splits(SECTION, given=(IMAGES, LABELS, names))
    assert arrays.fingerprint == files.fingerprint
    assert arrays.class_names == names
    for name, split in files.named().items():
        assert np.array_equal(arrays.named()[name].indices, split.indices)
        assert np.array_equal(arrays.named()[name].images, split.images)


def pixels(splits: Splits) -> np.ndarray:
    return splits.train.images


@pytest.mark.parametrize(
    "given",
    [
        (torch.from_numpy(IMAGES), torch.from_numpy(LABELS)),
        [IMAGES, LABELS.astype(np.uint8)],
        (list(IMAGES), LABELS.tolist()),
    ],
    ids=["tensors", "list", "lists"],
)
def test_tensors_and_lists_are_the_same(given: object) -> None:
    splits = load_splits(SECTION, given=given)  # type: ignore[arg-type]
    assert splits.fingerprint == load_splits(SECTION, given=(IMAGES, LABELS)).fingerprint
    assert splits.class_names == ("0", "1", "2")


def test_grey_images_become_colored_and_large_ones_are_shrunk() -> None:
    grey = load_splits(SECTION, given=(IMAGES[..., 0], LABELS))
    assert np.array_equal(pixels(grey), np.repeat(IMAGES[..., :1], 3, axis=3))
    small = load_splits(SECTION.model_copy(update={"image_size": 4}), given=(IMAGES[:, :, :6], LABELS))
    assert pixels(small).shape == (18, 4, 4, 3)


def test_the_users_array_may_change_afterwards() -> None:
    mine = IMAGES.copy()
    splits = load_splits(SECTION, given=(mine, LABELS))
    mine[:] = 0
    assert np.array_equal(pixels(splits), IMAGES)
