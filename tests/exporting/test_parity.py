import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pictorch.datasets import ImageSet, Splits
from pictorch.errors import GateError
from pictorch.exporting.parity import FEWEST_IMAGES, check_parity, parity_rows
from pictorch.images import InputSpec

STORE = np.random.default_rng(0).integers(0, 256, (6000, 2, 2, 3), np.uint8)


def splits(train, val):
    """A store whose first rows validate; the training rows count down to 0 from its end."""
    labels = np.zeros(len(STORE), np.int64)
    return Splits(
        train=ImageSet(STORE, labels, np.arange(len(STORE) - 1, len(STORE) - 1 - train, -1)),
        val=ImageSet(STORE, labels, np.arange(val)) if val else None,
        test=None,
        class_names=("a", "b"),
        input=InputSpec(2, 2),
        fingerprint="00",
        origin="made up",
    )


class Mean(nn.Module):
    """Two classes from the mean of the pixels; `shift` is what a wrong export would add."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def forward(self, images):
        mean = images.float().mean(dim=(1, 2, 3)) / 255 + self.shift
        return torch.stack([mean, 1 - mean], dim=1)


class Graph:
    """Stands for the exported graph: the same numbers through NumPy, and a note of what was asked."""

    def __init__(self):
        self.asked = []

    def probabilities(self, images):
        self.asked.append(images)
        mean = images.astype(np.float32).mean(axis=(1, 2, 3)) / 255
        return np.stack([mean, 1 - mean], axis=1)


@settings(deadline=None)
@given(train=st.integers(1, 3000), val=st.integers(0, 3000))
def test_all_validation_images_filled_up_from_training(train, val):
    made = splits(train, val)
    rows = dict(zip(["val", "train"][not val :], (r for _, r in parity_rows(made)), strict=False))
    filled = rows.get("train", np.array([], np.int64))
    if val:
        assert rows["val"].tolist() == list(range(val))
    assert val + len(filled) == max(val, min(FEWEST_IMAGES, val + train))
    assert len(set(filled.tolist())) == len(filled)
    assert set(filled.tolist()) <= set(made.train.indices.tolist())


def test_filling_images_are_spread_over_the_training_images():
    ((_, rows),) = parity_rows(splits(train=3000, val=0))
    assert set(np.diff(rows).tolist()) == {-3}


def test_every_chosen_image_is_compared_once():
    graph = Graph()
    agreement = check_parity(Mean(), graph, splits(train=950, val=130))
    assert agreement.n == 1000
    expected = np.concatenate([STORE[rows] for _, rows in parity_rows(splits(train=950, val=130))])
    np.testing.assert_array_equal(np.concatenate(graph.asked), expected)


def test_a_graph_that_differs_is_refused_with_the_largest_difference():
    with pytest.raises(GateError, match=r"1,000 images .*0\.001.*no bundle") as caught:
        check_parity(Mean(shift=0.001), Graph(), splits(train=2000, val=0))
    assert caught.value.exit_code == 8
    assert "\n" not in str(caught.value)


def test_difference_on_the_last_validation_image_alone_is_seen():
    class Broken(Graph):
        def probabilities(self, images):
            answers = super().probabilities(images)
            if len(images) == 30:
                answers[-1] += 0.01
            return answers

    with pytest.raises(GateError):
        check_parity(Mean(), Broken(), splits(train=10, val=1030))
