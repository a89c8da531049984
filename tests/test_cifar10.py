"""The promises on real CIFAR-10, where PICTORCH_DATA has it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import pictorch
from pictorch.datasets import load_splits
from pictorch.recipe import DataSection
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console


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
    began = time.perf_counter()
    page = pictorch.report("run")
    assert time.perf_counter() - began < 5
    assert page.stat().st_size < 5_000_000
    predictor = pictorch.load(pictorch.export("run").path)
    test = load_splits(DataSection(source="cifar10")).test
    assert test is not None
    arrays = RunFolder.open("run").evaluation_arrays("test")
    rows = range(0, 10_000, 100)
    answers = predictor([test.images[test.indices[row]] for row in rows], top=1)
    expected = arrays["logits"].argmax(1)
    assert [answer.name for answer in answers] == [
        predictor.bundle.class_names[expected[row]] for row in rows
    ]
    assert RunFolder.open("run").data()["counts"] == {"train": 45_000, "val": 5_000, "test": 10_000}


@pytest.mark.slow
def test_training_stays_under_2_gb(cifar10_home: Path) -> None:
    """A whole command in a process of its own, on all images, for 35 steps of 128."""
    smaller = ["--epochs", "0.1", "--set", "train.threads=1", "--out", "run"]
    subprocess.run([sys.executable, "-m", "pictorch", "train", "cifar10-cnn", "-q", *smaller], check=True)
    (epoch,) = (line for line in RunFolder.open("run").timing() if line["kind"] == "epoch")
    assert epoch["peak_memory_bytes"] < 2e9
