"""What is written down about the machine, and what makes a resumed run inexact."""

import copy
import getpass
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pictorch.recipe import TrainSection
from pictorch.training import environment as environment_module
from pictorch.training.environment import describe_environment, inexactness
from pictorch.training.runtime import resolve_runtime


@pytest.fixture
def record() -> dict[str, Any]:
    return describe_environment(resolve_runtime(TrainSection(epochs=1, device="cpu", threads=2)))


def test_the_record(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record)) == record
    assert record["pictorch"] == importlib.metadata.version("pictorch")
    assert record["python"] == platform.python_version()
    assert record["device"] == "cpu"
    assert record["device_name"] == record["cpu"] != ""
    assert record["threads"] == 2
    assert record["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert record["packages"]["torch"] == importlib.metadata.version("torch")
    assert {"numpy", "pillow", "torch", "torchvision", "onnxruntime"} <= record["packages"].keys()
    assert record["auto"]["train.threads"] == {"value": 2, "reason": "set in the recipe", "measured": ""}
    assert record["auto"]["train.precision"]["reason"].startswith("auto: ")
    assert record["auto"]["train.cudnn_benchmark"]["measured"] == "not measured"
    assert len(record["auto"]) == 8


def test_it_tells_neither_place_nor_person(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(record)
    private = {str(Path.cwd()), str(Path.home()), sys.prefix, sys.executable, os.environ.get("HOSTNAME", "")}
    private |= {name for name in (platform.node(), getpass.getuser()) if len(name) > 3}
    for word in private - {""}:
        assert word not in text
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setenv("USER", "secret-user")
    monkeypatch.setenv("HOSTNAME", "secret-host")
    again = describe_environment(resolve_runtime(TrainSection(epochs=1, device="cpu", threads=2)))
    assert again == record


def test_a_package_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "PACKAGES", ("torch", "surely-not-installed"))
    record = describe_environment(resolve_runtime(TrainSection(epochs=1, device="cpu")))
    assert record["packages"] == {"torch": importlib.metadata.version("torch"), "surely-not-installed": None}


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: A Processor @ 3: fast\nmodel name\t: another\n",
            "A Processor @ 3: fast",
        ),
        ("processor\t: 0\nFeatures\t: fp asimd\n", platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_the_processors_name(monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, expected: str) -> None:
    runtime = resolve_runtime(TrainSection(epochs=1, device="cpu", threads=1))

    real = Path.read_text

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        if path != Path("/proc/cpuinfo"):
            return real(path, *args, **kwargs)
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    assert describe_environment(runtime)["cpu"] == expected


def test_the_same_machine_is_exact(record: dict[str, Any]) -> None:
    assert inexactness(record, copy.deepcopy(record)) == []


def test_every_difference_that_matters_is_named(record: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    before["threads"], before["cpu_capability"] = 4, "DEFAULT"
    before["packages"]["torch"], before["packages"]["onnx"] = "1.0", "0.1"
    before["python"] = "2.7"
    before["auto"]["train.precision"] = {"value": "bf16", "reason": "other"}
    before["auto"]["train.compile"]["reason"] = "another reason for the same"
    before["auto"]["train.threads"]["value"] = 4
    after = record["auto"]["train.precision"]["value"]
    assert inexactness(before, record) == [
        "threads: 4 -> 2",
        f"cpu_capability: DEFAULT -> {record['cpu_capability']}",
        f"torch: 1.0 -> {record['packages']['torch']}",
        *([] if after == "bf16" else [f"train.precision: bf16 -> {after}"]),
    ]


def test_a_record_that_lacks_entries_differs_in_them(record: dict[str, Any]) -> None:
    differences = inexactness({}, record)
    assert f"threads: None -> {record['threads']}" in differences
    assert f"numpy: None -> {record['packages']['numpy']}" in differences
    assert "train.compile: None -> False" in differences
