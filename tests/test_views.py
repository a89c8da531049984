"""Views are exact moves of pixels, equal in NumPy and torch; their mean is that of logits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pictorch.networks.views import logits_of_views, tensor_view
from pictorch.predictor import Predictor
from pictorch.softmax import probabilities
from pictorch.views import IMAGE, VIEWS, View, ViewChoice, ViewScores, logarithms, view_of
from tiny_bundle import SIZE, make_bundle

IMAGES = arrays(np.uint8, st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 5), st.just(3)))
SHIFTS = st.integers(-1, 1)
QUICKLY = settings(deadline=None, max_examples=30)
ANY_VIEW = st.builds(View, SHIFTS, SHIFTS, st.booleans())


def made_logits(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=(count, 4)).astype(np.float32)


@pytest.mark.parametrize("name", VIEWS)
def test_each_set_is_one_mean_that_starts_with_the_image(name: str) -> None:
    first, *others = VIEWS[name]
    assert (first.dy, first.dx, first.mirrored) == (0, 0, False)
    assert first.weight + sum(view.weight for view in others) == 1
    places = [(view.dy, view.dx) for view in VIEWS[name]]
    assert all(places.count(place) == 2 for place in places) == (name != "none"), "each with its mirror"


def test_half_of_the_six_views_lies_on_the_image_and_its_mirror() -> None:
    weights = {(view.dy, view.dx): 2 * view.weight for view in VIEWS["flip_shift"]}
    assert weights == {(0, 0): 0.5, (-1, -1): 0.25, (1, 1): 0.25}


@QUICKLY
@given(IMAGES, ANY_VIEW)
def test_every_pixel_of_a_view_is_the_nearest_one_of_the_image(images: np.ndarray, view: View) -> None:
    found = view_of(images, view)
    assert found.shape == images.shape
    height, width = images.shape[1:3]
    for row in range(height):
        for column in range(width):
            across = width - 1 - column if view.mirrored else column
            source = images[
                :, min(max(row - view.dy, 0), height - 1), min(max(across - view.dx, 0), width - 1)
            ]
            np.testing.assert_array_equal(found[:, row, column], source)


@QUICKLY
@given(IMAGES, ANY_VIEW)
def test_torch_makes_the_same_views(images: np.ndarray, view: View) -> None:
    np.testing.assert_array_equal(tensor_view(torch.from_numpy(images), view).numpy(), view_of(images, view))


@QUICKLY
@given(IMAGES)
def test_the_mirror_of_the_mirror_is_the_image(images: np.ndarray) -> None:
    mirror = View(mirrored=True)
    np.testing.assert_array_equal(view_of(view_of(images, mirror), mirror), images)
    assert view_of(images, IMAGE) is images


@QUICKLY
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-20, 20, width=32)))
def test_logarithms_of_probabilities_serve_as_logits(logits: np.ndarray) -> None:
    """Other numbers stand in for the mirror's logits, and each view is off by a number of its own."""
    others = 5 - logits[::-1]
    of_logits, _ = ViewChoice("flip").mean_logits(logits, lambda view, rows: others[rows])
    known = {False: probabilities(logits).astype(np.float32), True: probabilities(others).astype(np.float32)}
    of_logarithms, _ = ViewChoice("flip").mean_logits(
        logarithms(known[False]), lambda view, rows: logarithms(known[view.mirrored][rows])
    )
    np.testing.assert_allclose(probabilities(of_logarithms), probabilities(of_logits), atol=1e-5)


@QUICKLY
@given(st.floats(0.01, 1), st.integers(0, 9))
def test_only_the_unsure_are_shown_in_more_views(below: float, count: int) -> None:
    logits, asked = made_logits(count), []

    def answer(view: View, rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return np.zeros((len(rows), 4), np.float32)

    mean, rows = ViewChoice("flip_shift", below).mean_logits(logits, answer)
    unsure = probabilities(logits).max(1) < below
    assert rows.tolist() == np.flatnonzero(unsure).tolist()
    assert asked == [rows.tolist()] * (5 if len(rows) else 0)
    np.testing.assert_array_equal(mean[~unsure], logits[~unsure])
    np.testing.assert_allclose(mean[unsure], logits[unsure] / 4)


@pytest.mark.parametrize("name", VIEWS)
def test_a_classifier_s_mean_is_that_of_its_views(name: str) -> None:
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4)).double()
    images = torch.rand(3, 4, 4, 3, dtype=torch.float64)
    with torch.inference_mode():
        found = logits_of_views(classifier, images, VIEWS[name])
        expected = sum(view.weight * classifier(tensor_view(images, view)) for view in VIEWS[name])
    torch.testing.assert_close(found, expected)


def test_a_predictor_answers_from_views(tmp_path: Path) -> None:
    """The graph of the tiny bundle sees no mirror, but the edges that a shift repeats and drops."""
    views = VIEWS["flip_shift"]
    predictor = Predictor(make_bundle(tmp_path / "bundle"))
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    answers = [predictor.probabilities(images, view=view) for view in views]
    parts = [view.weight * np.log(answer) for view, answer in zip(views, answers, strict=True)]
    expected = np.sort(probabilities(np.sum(parts, 0)))[:, ::-1]
    found = predictor(images, views="flip_shift")
    np.testing.assert_allclose([[p for _, p in one.classes] for one in found], expected, atol=1e-6)
    alone, below = predictor(images), float(np.median(answers[0].max(1)))
    mixed = predictor(images, views="flip_shift", views_below=below)
    assert sum(one.probability < below for one in alone) == 2
    for plain, one, several in zip(alone, mixed, found, strict=True):
        expected_one = several if plain.probability < below else plain
        assert dict(one.classes) == pytest.approx(dict(expected_one.classes), abs=1e-6)
        assert one.classes != (plain if expected_one is several else several).classes


def test_scores_come_back_from_json() -> None:
    scores = ViewScores("flip", 0.9, 0.5, (0.4, 0.6), 1.0, None, 0.25, 1.25)
    assert ViewScores.from_json({**vars(scores), "accuracy_interval": [0.4, 0.6]}) == scores
    assert scores.in_words() == "flip for the 25.0% of images below 0.9, 1.25 passes an image"
