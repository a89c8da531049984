import shutil

import pytest

from pictorch.run_folder import RunFolder
from pictorch.training.start import train
from tiny_bundle import color_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of three classes, 20 noisy images each."""
    return color_photos(tmp_path_factory.mktemp("data") / "photos")


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
