"""The package as people get it: built by `make wheel`, installed where nothing else is."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from pictorch.kernels.building import Unavailable, find_compiler
from tiny_bundle import CLASSES, color_image, make_bundle

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NO_NETWORK = re.compile(r"name resolution|Network is unreachable|NewConnectionError|ConnectTimeout")

pytestmark = pytest.mark.slow
Answer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` leaves in dist/, built in a copy of the source tree."""
    return built(tmp_path_factory.mktemp("tree"))


def built(tree: Path, *options: str) -> Path:
    """Copies the source tree into an empty folder, and returns what `make wheel` leaves there in dist/."""
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    # The environment of this test stands for the one that make would set up first.
    ready = ["--assume-old", ".venv/.ready", f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(["make", "wheel", *ready, *options], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = dist.parent / "src"
    files = {str(path.relative_to(source)) for path in (source / "pictorch").rglob("*") if path.is_file()}
    facts = f"pictorch-{PROJECT['version']}.dist-info/"
    assert {name for name in names if not name.startswith(facts)} == files
    assert {"pictorch/py.typed", "pictorch/packaged_recipes/digits.yaml"} <= names
    assert f"{facts}licenses/LICENSE" in names
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_source_archive_builds_and_has_readme_and_licence(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    top = f"pictorch-{PROJECT['version']}"
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
    assert {f"{top}/{name}" for name in ("README.md", "LICENSE", "pyproject.toml")} <= names


@pytest.fixture(scope="module")
def answer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answer]:
    """Runs a program of an environment that holds the wheel and what it asks for."""
    place = tmp_path_factory.mktemp("empty")
    venv.create(place / "env", with_pip=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str, expected_code: int = 0) -> subprocess.CompletedProcess[str]:
        program = str(place / "env/bin" / command[0])
        done = subprocess.run([program, *command[1:]], cwd=place, env=clean, capture_output=True, text=True)
        assert done.returncode == expected_code, done.stdout + done.stderr
        return done

    pip = [str(place / "env/bin/pip"), "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    installed = subprocess.run([*pip, str(wheel)], env=clean, capture_output=True, text=True)
    if NO_NETWORK.search(installed.stderr):
        pytest.skip("no network: pip reaches no package index")
    assert installed.returncode == 0, installed.stderr
    yield run
    shutil.rmtree(place / "env")


def test_the_base_install_brings_no_torch(answer: Answer) -> None:
    installed = {package["name"] for package in json.loads(answer("pip", "list", "--format=json").stdout)}
    assert "pictorch" in installed
    assert not installed & {"torch", "torchvision", "scikit-learn", "onnx", "pytest"}
    answer("pip", "check")


def test_help_version_and_recipes(answer: Answer) -> None:
    assert answer("pictorch", "--version").stdout.strip() == PROJECT["version"]
    assert "train" in answer("pictorch", "--help").stdout
    assert "cifar10-cnn" in answer("pictorch", "recipes").stdout


def test_a_bundle_is_verified_and_answers(answer: Answer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "colors.zip")
    picture = tmp_path / "leaf.png"
    Image.fromarray(color_image("green", 30, 40)).save(picture)
    verified = json.loads(answer("pictorch", "verify", str(bundle.path), "--json").stdout)
    assert verified["class_names"] == list(CLASSES)
    assert "green" in answer("pictorch", "predict", str(bundle.path), str(picture), "--top", "1").stdout
    bundle.path.write_bytes(bundle.path.read_bytes()[:-1])
    answer("pictorch", "verify", str(bundle.path), expected_code=4)


def test_training_names_the_line_that_installs_it(answer: Answer) -> None:
    done = answer("pictorch", "train", "digits", expected_code=9)
    (line,) = done.stderr.splitlines()
    assert "pip install 'pictorch[train]'" in line
    assert "train" in PROJECT["optional-dependencies"]


def test_serving_names_the_line_that_installs_it(answer: Answer, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "colors.zip")
    done = answer("pictorch", "serve", str(bundle.path), expected_code=9)
    (line,) = done.stderr.splitlines()
    assert "pip install 'pictorch[serve]'" in line


@pytest.fixture(scope="module")
def server(answer: Answer, wheel: Path) -> Answer:
    """The same environment with what `pictorch[serve]` adds; the tests of the base install came before."""
    answer("pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[serve]")
    return answer


def test_the_serve_extra_brings_no_torch(server: Answer) -> None:
    installed = {package["name"] for package in json.loads(server("pip", "list", "--format=json").stdout)}
    assert {"pictorch", "fastapi", "uvicorn"} <= installed
    assert not installed & {"torch", "torchvision", "scikit-learn", "onnx", "pytest"}
    server("pip", "check")


def test_without_torch_a_bundle_is_verified_predicts_and_is_served(server: Answer, tmp_path: Path) -> None:
    bundle = str(make_bundle(tmp_path / "colors.zip").path)
    picture = tmp_path / "leaf.png"
    Image.fromarray(color_image("green", 30, 40)).save(picture)
    assert json.loads(server("pictorch", "verify", bundle, "--json").stdout)["ok"] is True
    row = json.loads(server("pictorch", "predict", bundle, str(tmp_path), "--jsonl").stdout)
    assert row["classes"][0]["name"] == "green"

    python = server("python", "-c", "import sys; print(sys.executable)").stdout.strip()
    command = [python, "-m", "pictorch", "serve", bundle, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        asked = Request(f"{url}/predict", picture.read_bytes(), {"Content-Type": "image/png"})
        with urlopen(asked, timeout=10) as response:
            served = json.load(response)
        with urlopen(f"{url}/", timeout=10) as response:
            assert "<title>" in response.read().decode()
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert served["class"] == "green"
    assert served["probability"] == pytest.approx(row["classes"][0]["probability"], abs=1e-6)


def test_without_torch_the_server_is_measured(server: Answer, tmp_path: Path) -> None:
    bundle = str(make_bundle(tmp_path / "colors.zip").path)
    small = ["--seconds", "0.05", "--requests", "1", "--out", str(tmp_path / "tables"), "--json"]
    record = json.loads(server("pictorch", "bench", "serving", bundle, *small).stdout)
    assert all(row["answered"] for row in record["values"])


# --- with the kernels -----------------------------------------------------------------------------

_COMPUTES = """
import json, sys, torch, pictorch
from pictorch.kernels import operator
from pictorch.kernels.library import Kernels, open_kernels
opened = open_kernels(may_build=True)
found = {"package": pictorch.__file__}
if isinstance(opened, Kernels):
    found["kernels"] = str(opened.path)
    operator.use(opened)
    x, weight = torch.randn(2, 24, 9, 9), torch.randn(32, 24, 3, 3)
    mine, theirs = operator.conv3x3(x, weight, None), torch.conv2d(x, weight, padding=1)
    found |= {"difference": float((mine - theirs).abs().max()), "is_own": not torch.equal(mine, theirs)}
else:
    found["kernels"] = opened.reason
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def kernel_dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel KERNELS=1` leaves in dist/; skips without a compiler."""
    if isinstance(compiler := find_compiler(), Unavailable):
        pytest.skip(f"no kernels: {compiler.reason}")
    return built(tmp_path_factory.mktemp("with_kernels"), "KERNELS=1")


@pytest.fixture(scope="module")
def installed(kernel_dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installs that wheel into."""
    (path,) = kernel_dist.glob("*.whl")
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", target, path], check=True)
    return target


def computed(target: Path, tmp_path: Path) -> dict[str, Any]:
    """Returns what computes with an installed wheel's kernels, without a compiler and a cache."""
    cache = tmp_path / "cache"
    places = {"PYTHONPATH": str(target), "XDG_CACHE_HOME": str(cache), "PATH": "/nowhere", "CXX": ""}
    command = [sys.executable, "-c", _COMPUTES]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not cache.exists()
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["package"] == str(target / "pictorch/__init__.py")
    return found


def test_a_wheel_with_kernels_is_for_this_system_and_any_python(kernel_dist: Path, wheel: Path) -> None:
    (path,) = kernel_dist.glob("*.whl")
    system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert path.name == f"pictorch-{PROJECT['version']}-py3-none-{system}.whl"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(wheel) as pure:
        added = {Path(name).name for name in {*archive.namelist()} - {*pure.namelist()}}
        (facts,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert "Root-Is-Purelib: false" in archive.read(facts).decode()
    assert added == {"winograd.so", "winograd.sha256"}
    (sources,) = kernel_dist.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        assert not [name for name in archive.getnames() if name.endswith(".so")]
    assert not list(kernel_dist.parent.glob("src/**/*.so"))


def test_its_kernels_compute_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    found = computed(installed, tmp_path)
    assert found["kernels"].startswith(f"{installed}/pictorch/kernels/compiled/")
    assert found["is_own"]
    assert found["difference"] < 1e-3


def test_they_are_those_of_the_sources_beside_them_or_none(installed: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(installed, tmp_path / "changed")
    source = changed / "pictorch/kernels/winograd/tiles.h"
    source.write_text(source.read_text() + "\n")
    assert computed(changed, tmp_path)["kernels"] == "no C++ compiler (c++, g++, clang++)"


def test_a_wheel_whose_kernels_cannot_be_compiled_is_none(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the kernels cannot be put into the wheel, CXX=nothing is no"):
        built(tmp_path, "KERNELS=1", "CXX=nothing")
