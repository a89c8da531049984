"""data.fit from the recipe through the run and the bundle to a prediction: the same pixels everywhere."""

from pathlib import Path

import numpy as np
import pytest

import pictorch
from made_data import noise, write_image
from pictorch.datasets import load_splits
from pictorch.images import Fit, decode_image
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

RECIPE = {
    "name": "wide",
    "data": {"source": "wide", "image_size": 12},
    "model": {"name": "simple_net"},
    "optimizer": {"lr": 0.05},
    "train": {"epochs": 1, "batch_size": 4, "threads": 1, "device": "cpu"},
}


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_bundle_sees_photos_as_training_saw_them(fit: Fit) -> None:
    for number, name in enumerate(["blue", "red"] * 8):
        write_image(Path("wide", name, f"{number:02d}.png"), noise(9 + number % 5, 20, number))
    run = pictorch.train(RECIPE, set={"data.fit": fit}, out="run", console=Console("quiet")).run
    bundle = pictorch.export("run")
    assert bundle.input.fit == RunFolder.open("run").recipe().data.fit == fit
    assert bundle.input.stored_size == 12
    splits = load_splits(RunFolder.open("run").recipe().data)
    path = Path("wide/blue/00.png")
    expected = decode_image(path.read_bytes(), 12, fit=fit)
    assert np.array_equal(splits.train.images[0], expected)
    assert not np.array_equal(expected, decode_image(path.read_bytes(), 12))
    predictor = pictorch.load("run/bundle")
    (probabilities,) = predictor.probabilities(expected[np.newaxis])
    for image in (path, path.read_bytes(), noise(9, 20, 0)):
        (answer,) = predictor([image])
        assert dict(answer.classes) == dict(
            zip(predictor.bundle.class_names, map(float, probabilities), strict=True)
        )
    judged = pictorch.evaluate("run/bundle", data="wide", split="test", out="judged")
    assert judged.accuracy == pictorch.evaluate(str(run), split="test").accuracy
