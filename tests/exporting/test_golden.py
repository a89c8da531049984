import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.datasets import ImageSet
from pictorch.exporting import golden
from pictorch.exporting.golden import GOLDEN_IMAGES, golden_images


def numbered(labels):
    """An image set whose images carry their own row as both pixels' bytes; every second row belongs."""
    rows = np.arange(2 * len(labels))
    pixels = np.stack([rows // 256, rows % 256, rows * 0], axis=1).astype(np.uint8)
    return ImageSet(pixels[:, None, None, :], np.repeat(labels, 2).astype(np.int64), rows[::2])


def rows_of(images):
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
def test_choice_is_even_over_the_classes_and_inside_the_set(labels):
    images = numbered(np.array(labels))
    rows = rows_of(golden_images(images))
    assert len(rows) == len(set(rows.tolist())) == min(GOLDEN_IMAGES, len(labels))
    assert set(rows.tolist()) <= set(images.indices.tolist())
    counts = dict.fromkeys(labels, 0)
    for row in rows:
        counts[int(images.labels[row])] += 1
    for label, count in counts.items():
        exhausted = count == labels.count(label)
        assert exhausted or count >= max(counts.values()) - 1


def test_choice_is_repeatable_and_spread_where_classes_are_many():
    images = numbered(np.arange(100))
    chosen = golden_images(images)
    np.testing.assert_array_equal(chosen, golden_images(images))
    found = images.labels[rows_of(chosen)]
    assert found.min() < 10
    assert found.max() > 90


def test_large_images_are_fewer(monkeypatch):
    monkeypatch.setattr(golden, "_LARGEST_BYTES", 7)
    assert len(golden_images(numbered(np.arange(10)))) == 2
    monkeypatch.setattr(golden, "_LARGEST_BYTES", 1)
    assert len(golden_images(numbered(np.arange(10)))) == 1
