"""TensorBoard's view of a training, as TensorBoard's own reader gives it."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef

import pictorch
from made_data import write_classes
from pictorch.networks.graph import GraphNode
from pictorch.run_folder import RunFolder
from pictorch.training import tensorboard
from pictorch.training.console import Console
from pictorch.training.start import train
from pictorch.training.tensorboard import draw_confusion, graph_def
from stopped_run import KILLED_CHILD

QUIET = Console("quiet")
RECIPE = {
    "name": "small",
    "data": {"source": "photos", "val_fraction": 0.2},
    "model": {"name": "simple_net"},
    "augment": {"flip": "random", "crop_padding": 2},
    "optimizer": {"lr": 0.05},
    "train": {"epochs": 2, "batch_size": 4, "threads": 1, "log_every_steps": 3},
}


@pytest.fixture
def photos() -> None:
    write_classes(Path("photos"), {"猫": 10, "big dog": 10, "ab": 10})


def view_of(run: str) -> EventAccumulator:
    view = EventAccumulator(str(RunFolder.open(run).tensorboard_path), size_guidance={"images": 0})
    view.Reload()
    return view


def points(view: EventAccumulator, tag: str) -> list[tuple[int, Any]]:
    return [(event.step, pytest.approx(event.value, abs=1e-6)) for event in view.Scalars(tag)]


def picture(view: EventAccumulator, tag: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(view.Images(tag)[-1].encoded_image_string)))


def test_everything_that_is_promised_is_there(photos: None) -> None:
    train(RECIPE, out="run", console=QUIET)
    view, run = view_of("run"), RunFolder.open("run")
    epochs = [line for line in run.metrics() if line["kind"] == "epoch"]
    steps = [line for line in run.metrics() if line["kind"] == "step"]
    for tag, key in (("loss/step", "loss"), ("lr", "lr"), ("gradient_norm", "gradient_norm")):
        assert points(view, tag) == [(line["step"], line[key]) for line in steps]
    for tag in ("loss/train", "loss/val", "accuracy/train", "accuracy/val"):
        key = "_".join(reversed(tag.split("/")))
        assert points(view, tag) == [(line["step"], line[key]) for line in epochs]
    seconds = [line["seconds"] for line in run.timing() if line["kind"] == "epoch"]
    assert [value for _, value in points(view, "seconds/epoch")] == seconds
    for score in ("precision", "recall", "f1"):
        for place, name in enumerate(run.data()["class_names"]):
            expected = [(line["step"], line["val_classes"][score][place]) for line in epochs]
            assert points(view, f"{score}/{name}") == expected
    assert "f1/猫" in view.Tags()["scalars"]
    assert "f1/big dog" in view.Tags()["scalars"]
    (text,) = view.Tensors("classes/text_summary")
    assert text.tensor_proto.string_val[0].decode().split("  \n") == ["0 ab", "1 big dog", "2 猫"]


def test_samples_are_those_of_the_run(photos: None) -> None:
    train(RECIPE, out="run", console=QUIET)
    view, samples = view_of("run"), RunFolder.open("run").samples()
    for name in ("images", "augmented"):
        grid = picture(view, f"samples/{name}")
        assert grid.shape == (3 * 8, 8 * 8, 3), "24 samples of 8 x 8 pixels"
        assert np.array_equal(grid[:8, 8:16], samples[name][1])
    assert not np.array_equal(picture(view, "samples/images"), picture(view, "samples/augmented"))


def test_the_confusion_matrix_is_that_of_each_epoch(photos: None) -> None:
    train(RECIPE, out="run", console=QUIET)
    view = view_of("run")
    assert [event.step for event in view.Images("confusion")] == [5, 10]
    pictorch.evaluate("run", split="val", checkpoint="last", console=QUIET)
    stored = RunFolder.open("run").evaluation("val")
    assert stored is not None
    assert np.array_equal(picture(view, "confusion"), draw_confusion(np.array(stored.confusion)))


def test_the_graph_is_that_of_the_network(photos: None) -> None:
    train(RECIPE, out="run", console=QUIET)
    graph = GraphDef.FromString(view_of("run")._graph)
    assert [(node.name, node.op, list(node.input)) for node in graph.node][2:5] == [
        ("network/conv1", "Conv2d", ["normalization"]),
        ("network/relu1", "ReLU", ["network/conv1"]),
        ("network/max_pool2d", "max_pool2d", ["network/relu1"]),
    ]
    assert graph.node[7].name == "network/max_pool2d_1", "names are used once"
    sizes = [dim.size for dim in graph.node[2].attr["_output_shapes"].list.shape[0].dim]
    assert sizes == [-1, 16, 8, 8]
    assert graph.node[2].attr["parameters"].i == 448


def test_edges_of_a_graph_name_nodes_that_are_used_more_than_once() -> None:
    inputs = {"a": (), "a ": (0,), "b": (0, 1)}
    nodes = [GraphNode(name.strip(), "add", of, (1,), 0) for name, of in inputs.items()]
    assert [(node.name, list(node.input)) for node in graph_def(nodes).node] == [
        ("a", []), ("a_1", ["a"]), ("b", ["a", "a_1"]),
    ]  # fmt: skip


def test_without_validation_there_are_no_classes(photos: None) -> None:
    train(RECIPE, set={"data.val_fraction": 0.0}, out="run", console=QUIET)
    tags = view_of("run").Tags()
    assert not [tag for tag in tags["scalars"] if tag.startswith(("f1/", "loss/val"))]
    assert sorted(tags["images"]) == ["samples/augmented", "samples/images"]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 8])
def test_after_a_kill_no_step_stands_there_twice(photos: None, steps: int) -> None:
    """Killed in the first epoch, before anything was saved, or in the second; then all is as without it."""
    words = ["train", "small.yaml", "--out", "run", "-q"]
    Path("small.yaml").write_text(yaml.safe_dump(RECIPE, allow_unicode=True))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", KILLED_CHILD, str(steps), *words], env=environment)
    assert child.returncode == -9
    time.sleep(1.1)  # readers take files in the order of their seconds, and a new process needs longer
    train(resume="run", console=QUIET)
    train("small.yaml", out="whole", console=QUIET)
    seen, whole = view_of("run"), view_of("whole")
    for kind in ("scalars", "images", "tensors"):
        assert seen.Tags()[kind] == whole.Tags()[kind]
    for tag in whole.Tags()["scalars"]:
        if tag not in ("images_per_second", "seconds/epoch"):
            assert points(seen, tag) == points(whole, tag)
    for tag in whole.Tags()["images"]:
        assert [event.step for event in seen.Images(tag)] == [event.step for event in whole.Images(tag)]
    assert len(seen.Tensors("classes/text_summary")) == 1
    assert seen._graph == whole._graph


@pytest.mark.parametrize("opens", [False, True])
def test_training_goes_on_where_the_view_cannot_be_written(
    photos: None, opens: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full from the start, or nothing can be written into the file that was opened."""
    train(RECIPE, out="whole", console=QUIET)
    real = Path.open

    def full(self: Path, *mode: Any, **options: Any) -> Any:
        if "tfevents" not in self.name:
            return real(self, *mode, **options)
        if opens:
            return real(Path("/dev/full"), *mode, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    assert train(RECIPE, out="run", console=Console()).epochs == 2
    said = capsys.readouterr().err
    line = "training goes on without TensorBoard: run/tensorboard cannot be written (No space left on device)"
    assert said.count(line) == 1
    assert "Traceback" not in said
    one, other = (Path(run, "metrics.jsonl").read_bytes() for run in ("run", "whole"))
    assert one == other


def test_training_goes_on_where_the_graph_cannot_be_followed(
    photos: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(network: Any) -> None:
        raise TypeError("who am I")

    monkeypatch.setattr(tensorboard, "trace_graph", lost)
    assert train(RECIPE, out="run", console=QUIET).epochs == 2
    assert view_of("run").Tags()["graph"] is False


def test_a_confusion_matrix_by_hand() -> None:
    drawn = draw_confusion(np.array([[1, 1], [0, 0]]))
    assert drawn.shape == (108, 108, 3)
    assert drawn[38, 38].tolist() == [146, 177, 245], "half of the blue"
    assert drawn[38, 74].tolist() == [244, 172, 134], "half of the orange"
    assert (drawn[74:, 36:] == 255).all(), "a class without images"
    many = draw_confusion(np.eye(100, dtype=np.int64))
    assert many.shape == (800, 800, 3)
    assert many[-1, -1].tolist() == [37, 99, 235]
    assert many[0, -1].tolist() == [255, 255, 255]


@pytest.mark.slow
def test_large_samples_are_thinned(photos: None) -> None:
    write_classes(Path("large"), {"a": 8, "b": 8}, side=300)
    train(RECIPE, data="large", out="run", set={"train.epochs": 1}, console=QUIET)
    assert picture(view_of("run"), "samples/images").shape == (2 * 100, 8 * 100, 3)
