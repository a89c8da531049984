"""The promises on real CIFAR-10, where PICTORCH_DATA has it."""

import subprocess
import sys
from pathlib import Path

import pytest

import pictorch
from pictorch.datasets import load_splits
from pictorch.recipe import DataSection
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

_FIRST_STEPS = """
import resource
from pictorch.datasets import load_splits
from pictorch.recipe_files import load_recipe
from pictorch.training.loop import train_step, validate
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import build_session
recipe = load_recipe("cifar10-cnn", ["train.threads=1"])
runtime = resolve_runtime(recipe.train)
with runtime.applied():
    session = build_session(recipe, load_splits(recipe.data), runtime, [Segment(0, 1, 1.0)])
    for _ in range(12):
        train_step(session, measure_norm=True)
        session.position.step_in_epoch += 1
    validate(session)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_cifar10_is_found_whole(cifar10_home: Path) -> None:
    splits = load_splits(DataSection(source="cifar10"))
    assert splits.val is not None
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (45_000, 5_000, 10_000)
    assert splits.class_names[0] == "airplane"
    assert splits.class_names[9] == "truck"
    assert set(splits.test.labels[splits.test.indices][:1000]) == {0}


@pytest.mark.slow
def test_the_smallest_network_learns_it(cifar10_home: Path) -> None:
    result = pictorch.train(
        "cifar10-simple-net", epochs=2, set=["train.threads=1"], out="run", console=Console("quiet")
    )
    assert result.val_accuracy is not None
    assert result.val_accuracy > 0.55
    judged = pictorch.evaluate("run", split="test")
    assert judged.n == 10_000
    assert judged.accuracy > 0.55
    bundle = pictorch.export("run")
    image = next((cifar10_home / "cifar10/test/ship").glob("*.png"), None)
    if image is not None:
        assert pictorch.load(bundle.path)([image])[0].classes[0][1] > 0.1
    assert RunFolder.open("run").data()["counts"] == {"train": 45_000, "val": 5_000, "test": 10_000}


@pytest.mark.slow
def test_training_stays_under_2_gb(cifar10_home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FIRST_STEPS], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 2e9
