"""The plain form: names and shapes, metadata, where it is cut, and that it answers as the bundle does."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pictorch.bundle.bundle import GOLDEN, MODEL, Bundle, golden_bytes
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.errors import GateError, RecipeError
from pictorch.exporting import plain_onnx
from pictorch.exporting.export import export
from pictorch.exporting.forms import ExportedForm, FormSource
from pictorch.exporting.onnx_graph import ClassProbabilities, onnx_bytes
from pictorch.images import InputSpec
from pictorch.networks.zoo import build_network
from pictorch.recipe.sections import ModelSection
from pictorch.run_folder import RunFolder
from pictorch.softmax import probabilities
from pictorch.training.checkpoint import load_network
from tiny_bundle import CLASSES, SIZE, make_bundle

PAGE = (Path(__file__).parents[2] / "docs/ship.md").read_text()
IMAGES = np.random.default_rng(3).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def const(name: str, values: Any, kind: Any = np.float32) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, kind)))


def cast(given: str, made: str) -> NodeProto:
    return helper.make_node("Cast", [given], [made], to=TensorProto.FLOAT)


def graph_of(nodes: list[NodeProto], *, nchw: bool, size: int = SIZE) -> bytes:
    """Returns a graph from `images` through `nodes`, which make `pixels`, to answers that tell rows apart."""
    draws = np.random.default_rng(7)
    shape = (3, size, size) if nchw else (size, size, 3)
    weights = draws.normal(0, 0.1, (int(np.prod(shape)), 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("Flatten", ["pixels"], ["row"]),
            helper.make_node("MatMul", ["row", "weights"], ["answer"]),
            helper.make_node("Softmax", ["answer"], ["probabilities"]),
        ],
        "made",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized


def bundle_of(model: bytes, size: int = SIZE, **changes: Any) -> Bundle:
    images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    opened = OnnxModel(model, name="m", size=size, num_classes=len(CLASSES), threads=1)
    golden = golden_bytes(images, opened.probabilities(images))
    return make_bundle(Path("bundle"), {MODEL: model, GOLDEN: golden}, **changes)


def plain(bundle: Bundle, target: str = "plain") -> onnxruntime.InferenceSession:
    plain_onnx.make(FormSource(bundle, lambda line: None), Path(target))
    return onnxruntime.InferenceSession(f"{target}/model.onnx")


def told(session: onnxruntime.InferenceSession) -> dict[str, str]:
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return metadata


def answers(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Answers as somebody does who has the file and its metadata and nothing else."""
    mean, std = (np.array(json.loads(told(session)[key])) for key in ("mean", "std"))
    normalised = ((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    (logits,) = session.run(["logits"], {"input": normalised})
    return probabilities(logits)


def test_names_types_and_shapes_are_what_other_tools_expect() -> None:
    make_bundle(Path("colors"))
    form = export("colors", to="onnx")
    assert isinstance(form, ExportedForm)
    assert form.path == Path("colors-onnx")
    assert form.agreement.n == 1000
    assert form.agreement.ok
    session = onnxruntime.InferenceSession("colors-onnx/model.onnx")
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("input", "tensor(float)", ["batch_size", 3, SIZE, SIZE])
    assert (made.name, made.type, made.shape) == ("logits", "tensor(float)", ["batch_size", len(CLASSES)])
    assert Path("colors-onnx/classes.txt").read_text().splitlines() == list(CLASSES)
    assert set(form.files) == {"model.onnx", "classes.txt", "pictorch.json"}


def test_metadata_tells_the_names_and_the_preprocessing() -> None:
    bundle = make_bundle(Path("bundle"), class_names=("蓝", "a,b", 'say "red"'))
    metadata = told(plain(bundle))
    assert json.loads(metadata["class_names"]) == ["蓝", "a,b", 'say "red"']
    assert json.loads(metadata["mean"]) == [0, 0, 0]
    assert json.loads(metadata["std"]) == pytest.approx([1 / 255] * 3, rel=1e-6)
    rest = {"layout": "NCHW", "input_size": "8", "color": "RGB", "resampling": "bicubic"}
    rest |= {"fit": "centre-crop", "licence": "not stated"}
    assert {key: metadata[key] for key in rest} == rest


per_channel = st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(per_channel, per_channel, st.booleans(), st.permutations(["mean", "std", "255"]), st.booleans())
def test_any_normalisation_is_found(
    mean: list[float], std: list[float], nchw: bool, order: list[str], own_transpose_first: bool
) -> None:
    """Shift and scale in any order, before or behind the transposition, by constants or computed ones."""
    shape = (3, 1, 1) if nchw and own_transpose_first else (3,)
    before = order[: order.index("mean")]
    shift = np.array(mean) * (1 if "255" in before else 255) / (std if "std" in before else 1)
    turn = helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2])
    rename = helper.make_node("Identity", ["a"], ["b"])
    steps = [
        const("255", 255.0),
        const("half std", np.reshape(std, shape) / 2),
        const("two", 2.0),
        helper.make_node("Mul", ["half std", "two"], ["std"]),
        const("mean", np.reshape(shift, shape)),
        cast("images", "a"),
        turn if nchw and own_transpose_first else rename,
    ]
    name = "b"
    for step in order:
        steps.append(helper.make_node("Sub" if step == "mean" else "Div", [name, step], [f"by {step}"]))
        name = f"by {step}"
    if nchw and not own_transpose_first:
        steps.append(helper.make_node("Transpose", [name], ["pixels"], perm=[0, 3, 1, 2]))
    else:
        steps.append(helper.make_node("Identity", [name], ["pixels"]))
    bundle = bundle_of(graph_of(steps, nchw=nchw))
    session = plain(bundle)
    assert json.loads(told(session)["mean"]) == pytest.approx(mean, abs=2e-6)
    assert json.loads(told(session)["std"]) == pytest.approx(std, rel=2e-5)
    np.testing.assert_allclose(answers(session, IMAGES), bundle.model().probabilities(IMAGES), atol=1e-4)


def normalised(made: str = "pixels") -> list[NodeProto]:
    """Returns the nodes of a normalisation, NHWC as given."""
    return [
        const("mean", np.array(MEAN) * 255),
        const("std", np.array(STD) * 255),
        cast("images", "float"),
        helper.make_node("Sub", ["float", "mean"], ["shifted"]),
        helper.make_node("Div", ["shifted", "std"], [made]),
    ]


def test_enlargement_stays_inside() -> None:
    factors = const("factors", [1, 2, 2, 1])
    resize = helper.make_node("Resize", ["small", "", "factors"], ["pixels"], mode="linear")
    session = plain(bundle_of(graph_of([factors, *normalised("small"), resize], nchw=False, size=16)))
    assert session.get_inputs()[0].shape[2:] == [SIZE, SIZE]
    assert json.loads(told(session)["mean"]) == pytest.approx(MEAN)


def test_what_is_no_normalisation_stays_inside() -> None:
    """A mean image differs from pixel to pixel, and a negative turns bright into dark."""
    picture = const("picture", np.random.default_rng(1).random((SIZE, SIZE, 3)))
    bundle = bundle_of(
        graph_of(
            [
                picture,
                const("minus", -1.0),
                *normalised("fair"),
                helper.make_node("Sub", ["fair", "picture"], ["uneven"]),
                helper.make_node("Mul", ["uneven", "minus"], ["pixels"]),
            ],
            nchw=False,
        )
    )
    session = plain(bundle)
    assert json.loads(told(session)["std"]) == pytest.approx(STD)
    np.testing.assert_allclose(answers(session, IMAGES), bundle.model().probabilities(IMAGES), atol=1e-5)


@pytest.mark.parametrize("batch_only", [True, False])
def test_shapes_that_are_read_in_front_are_still_right(batch_only: bool) -> None:
    """Exporters take the number of images from the shape of `images`, some of them the whole shape."""
    turn = helper.make_node("Transpose", ["turned"], ["back"], perm=[0, 3, 1, 2])
    only = {"start": 0, "end": 1} if batch_only else {}
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"], **only),
        const("rest", [3, SIZE, SIZE], np.int64),
        const("zero", np.zeros((1, 1, 1, 1))),
        const("first", [0], np.int64),
        *normalised("turned"),
        turn,
        helper.make_node("Gather", ["shape", "first"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["whole"], axis=0),
        helper.make_node("Expand", ["zero", "whole"], ["zeros"]),
        helper.make_node("Add", ["back", "zeros"], ["pixels"]),
    ]
    bundle = bundle_of(graph_of(nodes, nchw=True))
    session = plain(bundle)
    np.testing.assert_allclose(answers(session, IMAGES), bundle.model().probabilities(IMAGES), atol=1e-5)
    ops = [node.op_type for node in onnx.load("plain/model.onnx").graph.node]
    assert ops.count("Transpose") == (0 if batch_only else 2), "the whole shape needs the images' own order"


def test_reshapes_that_keep_the_number_of_images_need_no_shape_of_them() -> None:
    nodes = [
        helper.make_node("Shape", ["images"], ["n"], start=0, end=1),
        const("rest", [SIZE * SIZE, 3], np.int64),
        *normalised("squares"),
        helper.make_node("Concat", ["n", "rest"], ["rows"], axis=0),
        helper.make_node("Reshape", ["squares", "rows"], ["pixels"]),
    ]
    bundle = bundle_of(graph_of(nodes, nchw=False))
    session = plain(bundle)
    np.testing.assert_allclose(answers(session, IMAGES), bundle.model().probabilities(IMAGES), atol=1e-5)
    graph = onnx.load("plain/model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Transpose", "Reshape", "Flatten", "MatMul"]


def test_names_of_the_graph_do_not_clash_with_ours() -> None:
    renamed = onnx.load_from_string(graph_of(normalised(), nchw=False))
    new_names = {"row": "logits", "answer": "input"}
    for node in renamed.graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        node.output[:] = [new_names.get(name, name) for name in node.output]
    bundle = bundle_of(renamed.SerializeToString())
    np.testing.assert_allclose(
        answers(plain(bundle), IMAGES), bundle.model().probabilities(IMAGES), atol=1e-5
    )


def test_nothing_is_left_of_what_was_cut_off() -> None:
    plain(bundle_of(graph_of(normalised(), nchw=False)))
    graph = onnx.load("plain/model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Transpose", "Flatten", "MatMul"]
    assert [tensor.name for tensor in graph.initializer] == ["weights"]


def without_softmax() -> bytes:
    model = onnx.load_from_string(graph_of(normalised(), nchw=False))
    model.graph.node[-1].op_type = "Sigmoid"
    serialized: bytes = model.SerializeToString()
    return serialized


def without_normalisation() -> bytes:
    nodes = [
        helper.make_node("Cast", ["images"], ["doubles"], to=TensorProto.DOUBLE),
        helper.make_node("Relu", ["doubles"], ["positive"]),
        cast("positive", "pixels"),
    ]
    return graph_of(nodes, nchw=False)


@pytest.mark.parametrize(
    ("model", "views", "words"),
    [
        (without_softmax, "none", "does not end in a softmax"),
        (without_normalisation, "none", "does not begin with a normalisation"),
        (lambda: graph_of(normalised(), nchw=False), "flip", "averages the views flip"),
    ],
)
def test_a_graph_that_cannot_be_cut_is_refused(model: Any, views: str, words: str) -> None:
    with pytest.raises(RecipeError, match=f"{words}.*`--to triton`"):
        plain(bundle_of(model(), views=views))
    assert not Path("plain").exists()


def test_other_answers_leave_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_onnx, "_rounded", lambda values: [round(float(each), 1) for each in values])
    bundle = bundle_of(graph_of(normalised(), nchw=False))
    with pytest.raises(GateError, match="the form onnx gives other answers than bundle on 1,000 images"):
        plain(bundle)
    assert not Path("plain").exists()


def test_equal_bundles_give_equal_bytes() -> None:
    bundle = bundle_of(graph_of(normalised(), nchw=False))
    plain(bundle, "a")
    plain(bundle, "b")
    assert {path.name: path.read_bytes() for path in Path("a").iterdir()} == {
        path.name: path.read_bytes() for path in Path("b").iterdir()
    }


@pytest.mark.slow
def test_lines_of_the_page_work() -> None:
    plain(bundle_of(graph_of(normalised(), nchw=False)))
    section = PAGE.partition("## Plain ONNX")[2].partition("\n## ")[0]
    (text,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(command, cwd="plain", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\['(blue|green|red)' '\w+'\]\n", done.stdout)


def network_bundle(name: str, stored_size: int, image_size: int) -> Bundle:
    """Returns the bundle of a network with fresh weights, in batch norms with something to do."""
    spec = InputSpec(stored_size, image_size)
    return bundle_of(network_graph(name, spec), stored_size, input=spec)


@cache
def network_graph(name: str, spec: InputSpec) -> bytes:
    torch.manual_seed(0)
    classifier = build_network(ModelSection(name=name), len(CLASSES), spec)
    classifier.normalization.fill(tuple(MEAN), tuple(STD))
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-0.1, 0.1)
    return onnx_bytes(ClassProbabilities(classifier).eval(), spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stored_size", "image_size"),
    [
        ("cifar10_cnn", 32, 32),
        ("speednet", 32, 32),
        ("torchvision:squeezenet1_1", 32, 64),
    ],
)
def test_networks_answer_as_in_their_bundle(name: str, stored_size: int, image_size: int) -> None:
    bundle = network_bundle(name, stored_size, image_size)
    session = plain(bundle)
    assert session.get_inputs()[0].shape == ["batch_size", 3, stored_size, stored_size]
    assert json.loads(told(session)["mean"]) == pytest.approx(MEAN, abs=2e-6)
    assert json.loads(told(session)["std"]) == pytest.approx(STD, rel=2e-5)
    names = {tensor.name for tensor in onnx.load("plain/model.onnx").graph.initializer}
    assert not any("normalization" in each for each in names)
    images = bundle.golden()[0]
    for count in (1, 3):
        expected = bundle.model().probabilities(images[:count])
        np.testing.assert_allclose(answers(session, images[:count]), expected, atol=1e-4)


@pytest.mark.slow
def test_logits_of_a_run_are_those_of_pytorch(run: RunFolder) -> None:
    form = export(run, to="onnx")
    assert form.path == run.path / "exported" / "onnx"
    assert form.agreement.n == 48
    classifier = load_network(run, "best")
    session = onnxruntime.InferenceSession(str(form.path / "model.onnx"))
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(IMAGES))
        given = classifier.normalization(torch.from_numpy(IMAGES)).contiguous()
    (logits,) = session.run(["logits"], {"input": given.numpy()})
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
    bundle = export(run)
    again = export(bundle.path, to="onnx")
    assert (again.path / "model.onnx").read_bytes() == (form.path / "model.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["openvino", "cv2"])
def test_other_runtimes_read_it(tool: str) -> None:
    module = pytest.importorskip(tool, reason=f"{tool} is not installed")
    bundle = network_bundle("cifar10_cnn", 32, 32)
    session = plain(bundle)
    images = bundle.golden()[0]
    given = ((images / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2).astype(np.float32)
    (expected,) = session.run(["logits"], {"input": given})
    if tool == "openvino":
        found = module.Core().compile_model("plain/model.onnx", "CPU")(given)["logits"]
    else:
        network = module.dnn.readNetFromONNX("plain/model.onnx")
        network.setInput(given)
        found = network.forward()
    np.testing.assert_allclose(found, expected, atol=1e-3)
