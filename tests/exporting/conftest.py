import shutil

import numpy as np
import pytest
from PIL import Image

from pictorch.run_folder import RunFolder
from pictorch.training.start import train

COLORS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}
SIZE = 8


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of three classes, 20 noisy images each."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(random.normal(color, 40, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """A run that was really trained, for three epochs; tests work on copies of it."""
    recipe = {
        "name": "colors",
        "data": {"source": str(photos), "val_fraction": 0.2, "test_fraction": 0.2},
        "model": {"name": "simple_net"},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "train": {"epochs": 3, "batch_size": 16, "device": "cpu", "save_every_epochs": 1},
    }
    out = tmp_path_factory.mktemp("runs") / "colors"
    train(recipe, out=out)
    return out


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")
