"""The mobile form: the program answers in ExecuTorch's runtime as the bundle does, or is not written."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pictorch.bundle import open_bundle
from pictorch.errors import GateError, MissingPartError, RecipeError
from pictorch.exporting import mobile
from pictorch.exporting.export import export
from pictorch.exporting.forms import ExportedForm, FormSource
from pictorch.exporting.onnx_graph import ClassProbabilities
from pictorch.run_folder import RunFolder
from pictorch.training.start import train
from tiny_bundle import CLASSES, make_bundle

needs_tools = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None, reason="no ExecuTorch: `make mobile-tools` installs it"
)
FILES = {"model.pte", "labels.txt", "golden_images.bin", "golden_probabilities.bin", "pictorch.json"}


def checked_by_an_app(folder: Path) -> float:
    """Does what an app does: reads the description, asks the program, returns the largest difference."""
    from executorch.runtime import Runtime

    told = json.loads((folder / "pictorch.json").read_bytes())
    golden, size = told["golden"], told["input"]["stored_size"]
    images = np.fromfile(folder / golden["images"], np.uint8).reshape(golden["n"], 1, size, size, 3)
    expected = np.fromfile(folder / golden["probabilities"], "<f4").reshape(golden["n"], -1)
    method = Runtime.get().load_program(folder / told["program"]).load_method(told["method"])
    found = np.concatenate([method.execute([torch.from_numpy(image)])[0].numpy() for image in images])
    assert found.shape == (golden["n"], len(told["class_names"]))
    assert found.std(axis=0).min() > 0.01, "the answers must differ for this to say anything"
    return float(np.abs(found - expected).max())


# --- with ExecuTorch ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedForm:
    return export(trained, to="mobile", out=tmp_path_factory.mktemp("mobile") / "phone")


@needs_tools
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ExecuTorch itself, which the app of this test loads
def test_an_app_gets_the_golden_answers_from_what_lies_there(exported: ExportedForm) -> None:
    assert exported.files.keys() == FILES
    assert checked_by_an_app(exported.path) < 1e-5
    assert exported.agreement.n == 48, "all validation and training images of this small run"
    assert exported.agreement.largest_difference < 1e-5
    told = json.loads((exported.path / "pictorch.json").read_bytes())
    assert (told["form"], told["class_names"]) == ("mobile", ["blue", "green", "red"])
    assert (told["input"]["dtype"], told["input"]["shape"]) == ("uint8", [1, 8, 8, 3])
    assert told["golden"]["tolerance"] == 1e-4
    assert (exported.path / "labels.txt").read_text() == "blue\ngreen\nred\n"


@needs_tools
@pytest.mark.slow
def test_xnnpack_computes_all_but_the_turn_from_pixels_to_floats(exported: ExportedForm) -> None:
    facts = exported.facts
    assert facts["operators"] - facts["operators_in_xnnpack"] == 2
    assert facts["operators_in_xnnpack"] >= 10
    assert 0 < facts["milliseconds_per_image"] < 1000
    assert "not a phone" in facts["measured_on"]


@needs_tools
@pytest.mark.slow
def test_another_process_gives_equal_bytes_and_one_line(
    exported: ExportedForm, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    """ExecuTorch prints and warns much, in Python and in C++, which nobody sees."""
    command = [sys.executable, "-W", "error", "-m", "pictorch", "export", str(run.path), "--to", "mobile"]
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "-q", "--json"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    there = run.form_path("mobile")
    assert json.loads(done.stdout)["path"] == str(there)
    for name in FILES:
        assert (there / name).read_bytes() == (exported.path / name).read_bytes(), name
    export(run, to="mobile", out=run.path.parent / "again")
    assert capfd.readouterr() == ("", "")


@needs_tools
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_views_and_enlargement_are_inside(photos: Path, tmp_path: Path) -> None:
    recipe = {
        "data": {"source": str(photos), "image_size": 12, "val_fraction": 0.2},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.05},
        "train": {"epochs": 1, "batch_size": 16, "device": "cpu"},
    }
    train(recipe, out=tmp_path / "run")
    form = export(tmp_path / "run", to="mobile", views="flip_shift")
    assert form.agreement.ok
    assert checked_by_an_app(form.path) < 1e-5


class Determinant(nn.Module):
    """A network that ONNX has a form for and ExecuTorch has not."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return self.head(torch.det(images_nchw).tanh())


@needs_tools
@pytest.mark.slow
def test_an_operator_that_executorch_lacks_is_named(photos: Path, tmp_path: Path) -> None:
    recipe = {"data": {"source": str(photos)}, "model": {}, "train": {"epochs": 1, "device": "cpu"}}
    train({**recipe, "optimizer": {"lr": 1e-3}}, model=Determinant, out=tmp_path / "run")
    with pytest.raises(RecipeError, match=r"_linalg_det.*use `--to onnx`"):
        export(tmp_path / "run", to="mobile", model=Determinant)
    assert not (tmp_path / "run" / "exported").exists()
    assert export(tmp_path / "run", to="onnx", model=Determinant).agreement.ok


# --- without it -----------------------------------------------------------------------------------


def test_without_executorch_the_line_that_installs_it_comes_before_any_work(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pictorch.exporting.run_bundle.make_bundle", lambda *_, **__: pytest.fail("worked"))
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(MissingPartError, match=r"`pip install 'pictorch\[mobile\]'`"):
        export(run, to="mobile")


def test_a_program_with_other_answers_is_not_written(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    bundle = open_bundle(make_bundle(place / "bundle").path)

    def wrong(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return bundle.model(threads=1).probabilities(images) + np.float32(2e-4)

    network = ClassProbabilities(nn.Identity())
    program = mobile.MobileProgram(b"pte", wrong, 1, 0)
    monkeypatch.setattr(mobile, "_program", lambda *_: program)
    with pytest.raises(GateError, match=r"form mobile gives other answers .* \(largest difference 0.0002"):
        mobile.make(FormSource(bundle, lambda _: None, None, network), place / "phone")
    assert not (place / "phone").exists()


def test_names_of_classes_stay_one_a_line(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    names = ("a\nb", "鱼", *(f"c{number}" for number in range(len(CLASSES) - 2)))
    bundle = open_bundle(make_bundle(place / "bundle", class_names=names).path)
    program = mobile.MobileProgram(b"pte", bundle.model(threads=1).probabilities, 1, 0)
    monkeypatch.setattr(mobile, "_program", lambda *_: program)
    monkeypatch.setattr(mobile, "version", lambda _: "1.5.1")
    monkeypatch.setattr(mobile, "call_seconds", lambda _: {"mobile": [0.001]})
    source = FormSource(bundle, lambda _: None, None, ClassProbabilities(nn.Identity()))
    form = mobile.make(source, place / "phone")
    lines = (form.path / "labels.txt").read_text("utf-8").splitlines()
    assert lines[:2] == ["a\\nb", "鱼"]
    assert json.loads((form.path / "pictorch.json").read_bytes())["class_names"] == list(names)


def test_what_c_writes_to_stderr_is_held_back_and_then_not(capfd: pytest.CaptureFixture[str]) -> None:
    @mobile._quiet()
    def fail() -> None:
        os.write(2, b"hidden")
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"
