"""The int8 form: what it is, what stays in float, what it is refused for, how its goldens are replayed."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from pictorch import export, load, verify
from pictorch.bundle.bundle import CARD, GOLDEN, MODEL, golden_bytes, write_bundle
from pictorch.datasets.of_bundle import splits_of_bundle
from pictorch.errors import CheckpointError, GateError, RecipeError
from pictorch.exporting import int8_graph, quantize
from pictorch.exporting.forms import FormSource, make_form
from tiny_bundle import color_bundle, color_image, color_photos, conv_model, tiny_model

HELD = 12  # validation images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(photos, the float bundle, the int8 bundle, what was told)"""
    folder = tmp_path_factory.mktemp("int8")
    photos = color_photos(folder / "photos")
    bundle = color_bundle(folder / "bundle", photos)
    told = []
    splits = splits_of_bundle(bundle, photos, told.append)
    int8 = make_form("int8", FormSource(bundle, told.append, splits), folder / "bundle-int8")
    return photos, bundle, int8, told


def graph_of(bundle):
    return onnx.ModelProto.FromString(bundle.files[MODEL]).graph


def test_it_is_a_bundle_that_answers_and_says_what_it_is(made):
    _, bundle, int8, _ = made
    assert verify(int8.path).golden_n == len(bundle.golden()[0])
    predictor = load(int8.path)
    assert [one.name for one in predictor([color_image("red"), color_image("blue")])] == ["red", "blue"]
    record = json.loads(int8.files["bundle.json"])
    assert (record["schema"], record["golden_tolerance"]) == (2, quantize.GOLDEN_TOLERANCE)
    assert record["metrics"].keys() == {"test_openings", "val"}
    assert record["metrics"]["val"]["n"] == record["quantization"]["float"]["n"] == HELD
    assert record["quantization"]["calibration_images"] == 60 - HELD - 6
    card = int8.files[CARD].decode()
    assert "This is an int8 bundle" in card
    assert "compared with the float bundle on" in card


def test_a_float_bundle_says_nothing_of_integers(made):
    record = json.loads(made[1].files["bundle.json"])
    assert record["schema"] == 1
    assert not {"quantization", "golden_tolerance"} & record.keys()


def test_batch_norm_is_folded_and_weights_are_integers_for_each_channel(made):
    graph = graph_of(made[2])
    assert "BatchNormalization" not in [node.op_type for node in graph.node]
    weights = {each.name: each for each in graph.initializer}
    (kernel,) = [each for each in weights.values() if list(each.dims) == [3, 3, 1, 1]]
    assert kernel.data_type == onnx.TensorProto.INT8
    assert np.abs(onnx.numpy_helper.to_array(kernel)).max() <= 64, "7 bits, so that no CPU's sums overflow"
    (scales,) = [node.input[1] for node in graph.node if kernel.name in node.input]
    assert list(weights[scales].dims) == [3]


def test_preprocessing_logits_and_softmax_stay_in_float(made):
    nodes = list(graph_of(made[2]).node)
    by_output = {name: node for node in nodes for name in node.output}
    (mul,) = [node for node in nodes if node.op_type == "Mul"]
    (softmax,) = [node for node in nodes if node.op_type == "Softmax"]
    assert {by_output[name].op_type for name in mul.input if name in by_output} <= {"Transpose", "Cast"}
    assert by_output[softmax.input[0]].op_type == "Gemm"
    (gemm,) = [node for node in nodes if node.op_type == "Gemm"]
    assert {by_output[name].op_type for name in gemm.input} == {"DequantizeLinear"}


def test_size_speed_and_accuracy_are_told(made):
    told = made[3]
    for start in ("size: ", "speed: ", "accuracy: "):
        (line,) = [line for line in told if line.startswith(start)]
        assert " before, " in line
        assert " after" in line
    assert any(f"n = {HELD} validation images" in line for line in told)


def test_equal_inputs_give_equal_bytes(made, tmp_path):
    photos, bundle, int8, _ = made
    again = export(bundle.path, to="int8", data=photos, out=tmp_path / "again")
    assert again.files == int8.files


def test_every_calibration_gives_a_graph_that_answers(made):
    bundle = made[1]
    images = bundle.golden()[0]
    plain = int8_graph.folded(bundle.files[MODEL])
    for calibration in int8_graph.CALIBRATIONS:
        graph = int8_graph.int8_bytes(plain, images, calibration)
        model = replace(bundle, files={**bundle.files, MODEL: graph}).model()
        assert np.abs(model.probabilities(images) - bundle.golden()[1]).max() < 0.2


def test_a_graph_that_answers_otherwise_is_refused_after_every_calibration(made, tmp_path, monkeypatch):
    photos, bundle, _, _ = made
    asked = []

    def turned(model, images, calibration):
        asked.append(calibration)
        graph = conv_model()
        graph.graph.initializer[6].CopyFrom(
            onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), graph.graph.initializer[6].name)
        )
        return graph.SerializeToString()

    monkeypatch.setattr(quantize, "int8_bytes", turned)
    with pytest.raises(GateError, match=r"falls from 100.00 % to .* by more than 0.5 points"):
        export(bundle.path, to="int8", data=photos, out=tmp_path / "out")
    assert asked == list(int8_graph.CALIBRATIONS)
    assert not (tmp_path / "out").exists()


def scores(accuracy):
    class Scores:
        n = 1000

    Scores.accuracy = accuracy
    return Scores()


@pytest.mark.parametrize(
    ("before", "after", "differing", "fault"),
    [
        (0.9, 0.8951, 9, None),
        (0.9, 0.95, 10, None),
        (0.9, 0.894, 0, "by more than 0.5 points"),
        (0.9, 0.9, 11, "only 98.90 % of 1,000 images keep their top class, 99 % have to"),
    ],
)
def test_gate(before, after, differing, fault):
    agreement = quantize.Agreement(1000, 0.3, differing)
    found = quantize._Judged(b"", "minmax", scores(after), agreement).fault(scores(before))
    assert (found is None) if fault is None else (fault in found)


def test_without_images_it_names_the_flag(made, tmp_path):
    with pytest.raises(RecipeError, match="--data SOURCE"):
        export(made[1].path, to="int8", out=tmp_path / "out")


def test_without_validation_images_it_is_refused(made, tmp_path):
    bundle = color_bundle(tmp_path / "bundle", made[0], val_fraction=0)
    with pytest.raises(GateError, match="no validation images"):
        export(bundle.path, to="int8", data=made[0])


def test_int8_of_int8_is_refused(made, tmp_path):
    with pytest.raises(RecipeError, match="int8 already"):
        export(made[2].path, to="int8", data=made[0], out=tmp_path / "out")


@pytest.mark.parametrize(("shift", "is_well"), [(0.9, True), (1.1, False)])
def test_goldens_of_int8_may_lie_within_their_own_tolerance(made, tmp_path, shift, is_well):
    int8 = made[2]
    images, answers = int8.golden()
    answers = answers.copy()
    answers[0, answers[0].argmax()] -= shift * quantize.GOLDEN_TOLERANCE
    files = {name: int8.files[name] for name in (MODEL, CARD)} | {GOLDEN: golden_bytes(images, answers)}
    moved = write_bundle(tmp_path / "moved", int8.facts, files)
    if is_well:
        assert verify(moved.path).ok
    else:
        with pytest.raises(CheckpointError, match=r"allowed 0\.05"):
            verify(moved.path)


def test_a_graph_of_another_shape_keeps_what_it_needs_in_float():
    nodes = int8_graph.folded(tiny_model().SerializeToString()).graph.node
    outside = [name.partition("_")[0] for name in int8_graph._outside(nodes)]
    assert sorted(outside) == ["Cast", "ReduceMean", "Softmax"]
