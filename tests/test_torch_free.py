"""What the base install promises: prediction and verification without torch, even indirectly."""

import json
import os
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

import pictorch
from tiny_bundle import CLASSES, color_image, make_bundle

SOURCE = Path(pictorch.__path__[0]).parent
FREE = (
    "errors",
    "host",
    "durable",
    "randomness",
    "recipe",
    "recipe.files",
    "images",
    "plugins",
    "run_folder",
    "run_list",
    "run_records",
    "views",
    "diagnosis",
    "bundle",
    "predictor",
    "reporting",
    "reporting.report",
    "serving.process",
    "cli",
)
TRAINING_ONLY = ("torch", "torchvision", "sklearn", "safetensors", "onnx", "onnxscript", "tensorboard")

IMPORT_ALL = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is not in the base install")

sys.meta_path.insert(0, Blocker())
for name in MODULES:
    importlib.import_module("pictorch." + name)
assert not set(BLOCKED) & set(sys.modules)
"""


def test_blocked_import_fails_at_all():
    """The test below proves nothing unless its blocker blocks."""
    program = f"BLOCKED = {TRAINING_ONLY!r}; MODULES = ('networks',)" + IMPORT_ALL
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment(SOURCE), capture_output=True, text=True)
    assert "torch is not in the base install" in ended.stderr


def test_free_modules_import_no_torch_even_indirectly():
    assert find_spec("torch") is not None, "without torch here the test would say nothing"
    program = f"BLOCKED = {TRAINING_ONLY!r}; MODULES = {FREE!r}" + IMPORT_ALL
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment(SOURCE))


@pytest.mark.slow
def test_predict_and_verify_run_where_only_the_base_install_is(tmp_path):
    python = base_environment(tmp_path / "environment")
    bundle = make_bundle(tmp_path / "colors.zip")
    Image.fromarray(color_image("green", 30, 40)).save(tmp_path / "leaf.png")

    def answer(*arguments, expected_code=0):
        ended = subprocess.run(
            [python, *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert ended.returncode == expected_code, ended.stderr
        return ended.stdout

    for name in TRAINING_ONLY:
        answer("-c", f"import {name}", expected_code=1)
    predicted = json.loads(answer("-m", "pictorch", "predict", str(bundle.path), "leaf.png", "--json"))
    assert predicted["predictions"][0]["classes"][0]["name"] == "green"
    verified = json.loads(answer("-m", "pictorch", "verify", str(bundle.path), "--json"))
    assert verified["ok"] is True
    assert verified["class_names"] == list(CLASSES)

    bundle.path.write_bytes(bundle.path.read_bytes()[:-1])
    answer("-m", "pictorch", "verify", str(bundle.path), expected_code=4)


def environment(*paths):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths))} if paths else kept


def base_environment(folder):
    """Returns the Python of a new environment that sees pictorch and its base dependencies only.

    The dependencies, and theirs in turn, are links to the packages installed here, so that it needs
    no network; a dependency that pyproject.toml does not declare is missing there.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for entry in base_packages():
        (packages / entry.name).symlink_to(entry)
    (packages / "pictorch.pth").write_text(f"{SOURCE}\n")
    return str(folder / "bin" / "python")


def base_packages():
    """Returns the installed files and folders of the base dependencies and of what they need."""
    project = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    seen, entries = set(), set()
    while waiting:
        requirement = waiting.pop()
        if requirement.name in seen or not (
            requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ):
            continue
        seen.add(requirement.name)
        found = distribution(requirement.name)
        waiting += [Requirement(line) for line in found.requires or []]
        tops = {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}
        entries |= {Path(str(found.locate_file(top))) for top in tops}
    return sorted(entries)
