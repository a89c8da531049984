"""A network of a zoo goes the whole way on real CIFAR-10, as the benchmark takes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/zoo_networks.py"


@pytest.mark.slow
def test_a_vision_transformer_of_timm(cifar10_home: Path) -> None:
    pytest.importorskip("timm", reason="the timm extra is not installed")
    quick = ["--steps", "50", "--least", "0.2", "--set", "data.image_size=32", "--set", "train.threads=1"]
    quick += ["--set", "train.save_every_minutes=0.01", "--set", "train.log_every_steps=1"]
    name = "timm:test_vit"
    command = [sys.executable, SCRIPT, name, "--folder", "zoo", "--out", "record.json", *quick]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (value,) = json.loads(Path("record.json").read_text())["values"]
    assert value["network"] == name
    assert value["val_accuracy"] >= 0.2
    assert 0 < value["resumed_after_step"] <= value["killed_after_step"] <= 50
    assert value["verified"]["ok"] is True
    assert [path.name for path in Path("zoo").iterdir() if path.is_dir()] == ["images"], "no run is left"
