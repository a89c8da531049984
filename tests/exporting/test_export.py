import copy
import dataclasses
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pictorch.bundle import open_bundle
from pictorch.bundle.agreement import Agreement
from pictorch.datasets import load_splits
from pictorch.errors import CheckpointError, DataError, GateError, RecipeError, RunInUseError
from pictorch.evaluation.evaluate import evaluate
from pictorch.exporting import run_bundle
from pictorch.exporting.export import export
from pictorch.exporting.onnx_graph import onnx_bytes
from pictorch.images import decode_image
from pictorch.networks.state_dicts import read_state_dict
from pictorch.predictor import Predictor, predict, verify
from pictorch.run_folder import RunFolder
from pictorch.training.checkpoint import load_network
from pictorch.training.console import Console


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return export(trained, out=tmp_path_factory.mktemp("exported") / "bundle")


# What the facts of a plain float graph are silent on.
LACKED = {"views", "quantization", "golden_tolerance"}


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_run_gets_a_bundle_that_verifies_and_predicts(run, photos):
    said = io.StringIO()
    bundle = export(str(run.path), console=Console("normal", said))
    assert bundle.path == run.bundle_path
    assert verify(run.bundle_path).ok
    assert bundle.class_names == ("blue", "green", "red")
    path = photos / "red" / "00.png"
    assert predict(run.path, [path])[0].to_json()["source"] == str(path)
    assert "agrees with PyTorch on 48 images" in said.getvalue()


def test_bundle_answers_as_the_network_of_the_checkpoint(trained, exported, run, photos):
    images = np.stack([decode_image(path.read_bytes(), 8) for path in sorted(photos.rglob("*.png"))])
    with torch.inference_mode():
        expected = torch.softmax(load_network(run, "best")(torch.from_numpy(images)), 1).numpy()
    np.testing.assert_allclose(Predictor(exported).probabilities(images), expected, atol=1e-5)
    assert expected.std(axis=0).min() > 0.01, "the answers must differ for this to say anything"


@pytest.mark.slow
def test_equal_runs_give_equal_files_in_silence(exported, run, tmp_path, capfd):
    assert export(run, out=tmp_path / "b.zip").files == exported.files
    assert (tmp_path / "b.zip").is_file()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_another_process_gives_equal_bytes(exported, run, tmp_path):
    program = "import sys; from pictorch.exporting.export import export; export(sys.argv[1])"
    source = str(Path(run_bundle.__file__).parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    command = [sys.executable, "-W", "error", "-c", program, str(run.path)]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    assert tree(run.bundle_path) == tree(exported.path)


def test_nothing_in_a_bundle_tells_where_it_was_made(exported, photos):
    everything = b"\n".join(exported.files.values())
    words = (str(photos.parent), str(Path.home()), os.getcwd(), platform.node(), torch.__version__)
    for word in words:
        if len(word) > 3:
            assert word.encode() not in everything, word
    assert exported.facts.recipe["data"]["source"] == "photos"


@pytest.mark.slow
def test_checkpoint_is_the_asked_one(run, exported, tmp_path):
    first = export(run, checkpoint="epoch-1", out=tmp_path / "first")
    assert first.facts.checkpoint == "epoch-0001"
    assert first.files["model.onnx"] != exported.files["model.onnx"]
    assert exported.facts.checkpoint == "best"


@pytest.mark.slow
def test_scores_of_the_same_checkpoint_travel_along(run):
    evaluate(run.path, split="test")
    evaluate(run.path, split="val", checkpoint="last")
    metrics = export(run).facts.metrics
    trained = metrics.pop("val")
    best = max((line for line in run.metrics() if line.get("best")), key=lambda line: line["epoch"])
    assert (trained["n"], trained["accuracy"], trained["loss"]) == (9, best["val_accuracy"], best["val_loss"])
    low, high = trained["accuracy_interval"]
    assert low <= trained["accuracy"] <= high
    test = run.evaluation("test")
    assert metrics == {
        "test_openings": 1,
        "test": {
            "n": 12,
            "accuracy": test.accuracy,
            "accuracy_interval": list(test.accuracy_interval),
            "loss": test.loss,
            "top5": test.top5,
        },
    }
    assert "| test | 12 |" in (run.bundle_path / "MODEL_CARD.md").read_text()


def test_golden_samples_are_validation_images(exported, trained):
    splits = load_splits(RunFolder.open(trained).recipe().data)
    validation = {image.tobytes() for image in splits.val.images[splits.val.indices]}
    images, probabilities = exported.golden()
    assert {image.tobytes() for image in images} == validation
    assert probabilities.shape == (9, 3)


def test_other_images_than_the_run_s_are_refused(run, tmp_path):
    other = tmp_path / "other"
    for name in ("blue", "green", "red"):
        (other / name).mkdir(parents=True)
        for number in range(9):
            pixels = np.full((8, 8, 3), number, np.uint8)
            (other / name / f"{number}.ppm").write_bytes(b"P6 8 8 255\n" + pixels.tobytes())
    with pytest.raises(DataError, match="--data"):
        export(run, data=str(other))
    assert not run.bundle_path.exists()


@pytest.mark.slow
def test_images_that_moved_are_named_with_data(run, photos, exported, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.symlink_to(photos)
    assert export(run, data=str(moved)).files == exported.files


@pytest.mark.slow
def test_disagreement_leaves_no_file(run, monkeypatch):
    def wrong(network, spec):
        changed = copy.deepcopy(network)
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(1.05)
        return onnx_bytes(changed, spec)

    monkeypatch.setattr(run_bundle, "onnx_bytes", wrong)
    before = set(os.listdir(run.path))
    with pytest.raises(GateError, match="largest difference"):
        export(run)
    assert set(os.listdir(run.path)) == before


@pytest.mark.slow
def test_disagreement_keeps_the_older_bundle(run, exported, monkeypatch):
    shutil.copytree(exported.path, run.bundle_path)
    monkeypatch.setattr("pictorch.exporting.parity.compare", lambda *_: Agreement(48, 1.0, 0))
    with pytest.raises(GateError):
        export(run)
    monkeypatch.undo()
    assert open_bundle(run.bundle_path).files == exported.files


def test_run_in_use_is_not_exported(run):
    with run.lock(), pytest.raises(RunInUseError):
        export(run)


def test_folder_of_other_things_is_refused_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_bundle, "load_splits", lambda *_: pytest.fail("worked before it checked"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(RecipeError, match="--out"):
        export(run, out=tmp_path / "photos")


def test_unknown_checkpoint_and_no_run_are_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="epoch-9"):
        export(run, checkpoint="epoch-9")
    with pytest.raises(CheckpointError, match="not a run folder"):
        export(tmp_path)


def test_facts_stand_in_bundle_json_and_nothing_else_does(exported):
    record = json.loads(exported.files["bundle.json"])
    names = {field.name for field in dataclasses.fields(exported.facts)} - LACKED
    assert set(record) == names | {"schema", "files", "manifest_sha256"}
    assert record["input"]["layout"] == "NHWC"
    assert record["licence"].startswith("not stated")


@pytest.mark.slow
@pytest.mark.parametrize("views", ["flip", "flip_shift"])
def test_views_inside_the_graph_are_those_of_the_predictor(run, exported, photos, tmp_path, views):
    images = np.stack([decode_image(path.read_bytes(), 8) for path in sorted(photos.rglob("*.png"))])
    plain, bundle = Predictor(exported), export(run, out=tmp_path / "bundle", views=views)
    inside, asked = Predictor(bundle), plain([*images], top=3, views=views)
    for row, one, alone in zip(inside.probabilities(images), asked, plain([*images], top=3), strict=True):
        answer = dict(zip(bundle.class_names, row.tolist(), strict=True))
        assert answer == pytest.approx(dict(one.classes), abs=1e-5)
        assert answer != pytest.approx(dict(alone.classes), abs=1e-4), "the views must make a difference"
    for count in (1, 2, 7):
        np.testing.assert_allclose(
            inside.probabilities(images)[:count], inside.probabilities(images[:count]), atol=1e-6
        )
    assert verify(bundle.path).ok
    assert open_bundle(bundle.path).facts.views == views
    assert f"`{views}`" in (bundle.path / "MODEL_CARD.md").read_text()
    with pytest.raises(RecipeError, match="leave out --views"):
        predict(bundle.path, [photos / "red" / "00.png"], views="flip")
    kept, there = read_state_dict(bundle.path), read_state_dict(exported.path)
    assert kept.tensors.keys() == there.tensors.keys()
    for name, tensor in there.tensors.items():
        assert torch.equal(kept.tensors[name], tensor)


@pytest.mark.slow
def test_only_scores_of_the_views_in_the_graph_travel_along(run):
    evaluate(run.path, split="test", views="flip", views_below=0.9)
    said = io.StringIO()
    assert export(run, views="flip", console=Console("normal", said)).facts.metrics == {"test_openings": 1}
    assert "training never did (augment.flip: none)" in said.getvalue()
    found = evaluate(run.path, split="test", views="flip")
    assert export(run, views="flip_shift").facts.metrics == {"test_openings": 2}
    scores = export(run, views="flip").facts.metrics["test"]
    assert (scores["n"], scores["accuracy"], scores["loss"]) == (12, found.views.accuracy, found.views.loss)
    plain = export(run).facts.metrics["test"]
    assert (plain["accuracy"], plain["loss"]) == (found.accuracy, found.loss)
