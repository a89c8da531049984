"""The plain ONNX form: normalised floats in, logits out, as tutorials export it and other tools want it.

It is cut out of the bundle's graph, whoever wrote that: in front behind the last node up to which every value
is one pixel's, scaled and shifted by its channel, and at the end before the softmax. What the part in front
does is seen from what it makes of black and white images, not from names.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.utils import Extractor

from pictorch.bundle.bundle import MODEL, Bundle
from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME, cpu_session
from pictorch.errors import RecipeError
from pictorch.exporting.forms import ExportedForm, FormSource, check_agreement, write_form
from pictorch.images import shown
from pictorch.softmax import probabilities
from pictorch.views import NO_VIEWS

INPUT, OUTPUT, BATCH = "input", "logits", "batch_size"

_FORM = "onnx"
_NORMALIZATION = "(pixel / 255 - mean) / std"
_PER_PIXEL = {"Add", "Cast", "Div", "Identity", "Mul", "Sub", "Transpose"}
# Whether the channels stand first, before and behind a transposition.
_TURNED = {(False, (0, 3, 1, 2)): True, (True, (0, 2, 3, 1)): False}
_TOLERANCE = 1e-5  # of the largest value
_BATCH_SIZE = 50  # images


@dataclass(frozen=True)
class _Point:
    """A tensor on the way in, with the rows and columns of the images; `nchw` says that channels stand first.

    `shape_is_read` says that a node asks for more of its shape than the number of images.
    """

    name: str
    nchw: bool
    kind: int
    shape_is_read: bool


@dataclass(frozen=True)
class _Normalization:
    """What stands before a point: from pixels of 0 to 1 the mean is taken, and the rest divided by std."""

    point: _Point
    mean: list[float]
    std: list[float]


def make(source: FormSource, target: Path) -> ExportedForm:
    """Writes model.onnx and classes.txt and returns what they are.

    Input `input` float32 (batch_size, 3, H, W), normalised, H and W the stored size; output `logits` float32
    (batch_size, C); names and preprocessing in metadata_props. Raises RecipeError for a graph that cannot be
    cut, GateError where the cut one answers otherwise, ResourceError.
    """
    bundle = source.bundle
    source.progress("cutting normalisation and softmax off the graph")
    model = _settled(ModelProto.FromString(bundle.files[MODEL]), bundle.input.stored_size)
    normalization, logits = _cuts(bundle, model)
    mean, std = (np.array(values, np.float32) for values in (normalization.mean, normalization.std))
    graph = _plain_bytes(bundle, model, normalization, logits)
    session = cpu_session(graph)

    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        normalised = ((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        starts = range(0, len(images), _BATCH_SIZE)
        batches = [np.ascontiguousarray(normalised[start : start + _BATCH_SIZE]) for start in starts]
        found = [session.run([OUTPUT], {INPUT: batch})[0] for batch in batches]
        return probabilities(np.concatenate(found)).astype(np.float32)

    agreement = check_agreement(_FORM, source, answers)
    size = bundle.input.stored_size
    facts = {
        INPUT: f"float32 ({BATCH}, 3, {size}, {size}), {_NORMALIZATION}",
        OUTPUT: f"float32 ({BATCH}, {len(bundle.class_names)})",
        "mean": normalization.mean,
        "std": normalization.std,
    }
    names = "".join(f"{shown(name)}\n" for name in bundle.class_names)
    sizes = write_form(_FORM, target, {"model.onnx": graph, "classes.txt": names.encode()}, facts)
    return ExportedForm(_FORM, target, sizes, agreement, facts)


def _settled(model: ModelProto, size: int) -> ModelProto:
    """Returns the graph with constants for the shapes of reshapes that only keep the number of images.

    Exporters compute them from the shape of `images`, which not every tool can follow.
    """
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    reshapes = [node for node in model.graph.node if node.op_type == "Reshape"]
    names = sorted(
        {node.input[1] for node in reshapes if makers.get(node.input[1], "Constant") != "Constant"}
    )
    if not names:
        return model
    part = _part(model, [], [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in names])
    session = cpu_session(part.SerializeToString())
    two, three = (session.run(None, {INPUT_NAME: np.zeros((n, size, size, 3), np.uint8)}) for n in (2, 3))
    for name, of_two, of_three in zip(names, two, three, strict=True):
        rest = of_two[1:].tolist()
        if [*of_two[:1], *of_three] == [2, 3, *rest] and -1 not in rest:
            shape = numpy_helper.from_array(np.array([-1, *rest], np.int64), f"{name}_settled")
            model.graph.initializer.append(shape)
            for node in reshapes:
                node.input[1] = shape.name if node.input[1] == name else node.input[1]
    return _part(model, [], model.graph.output)


def _cuts(bundle: Bundle, model: ModelProto) -> tuple[_Normalization, str]:
    """Returns where the graph is cut: the normalisation in front, and the name of the logits."""
    if bundle.facts.views != NO_VIEWS:
        raise RecipeError(
            f"--to onnx needs one image for one answer, and {bundle.path} averages the views "
            f"{bundle.facts.views}; export the run without --views, or this with `--to triton`"
        )
    normalization, logits = _normalization(model, bundle.input.stored_size), _logits(model.graph)
    if normalization is None:
        raise RecipeError(
            f"{bundle.path}: its graph does not begin with a normalisation in float32, behind which "
            "--to onnx could cut it; use `--to triton`, which keeps it whole"
        )
    if logits is None:
        raise RecipeError(
            f"{bundle.path}: its graph does not end in a softmax, before which --to onnx could cut it; "
            "use `--to triton`, which keeps it whole"
        )
    return normalization, logits


def _plain_bytes(bundle: Bundle, model: ModelProto, normalization: _Normalization, logits: str) -> bytes:
    point, size = normalization.point, bundle.input.stored_size
    way_in = [each.name for each in _way_in(model.graph)]
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in way_in[: way_in.index(point.name)]:
            node.input[0] = point.name
    part = _part(model, [_floats(point.name)], [_floats(logits)]).graph
    inner = INPUT if point.nchw else f"{INPUT}_nhwc"
    new_names = {INPUT: f"{INPUT}_inner", OUTPUT: f"{OUTPUT}_inner", point.name: inner, logits: OUTPUT}
    for node in part.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
        node.output[:] = [new_names.get(name, name) for name in node.output]
    for tensor in part.initializer:
        tensor.name = new_names.get(tensor.name, tensor.name)
    turned = [] if point.nchw else [helper.make_node("Transpose", [INPUT], [inner], perm=[0, 2, 3, 1])]
    graph = helper.make_graph(
        [*turned, *part.node],
        "plain",
        [_floats(INPUT, [BATCH, 3, size, size])],
        [_floats(OUTPUT, [BATCH, len(bundle.class_names)])],
        part.initializer,
    )
    plain = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="pictorch"
    )
    helper.set_model_props(plain, _metadata(bundle, normalization))
    onnx.checker.check_model(plain, full_check=True)
    serialized: bytes = plain.SerializeToString(deterministic=True)
    return serialized


def _metadata(bundle: Bundle, normalization: _Normalization) -> dict[str, str]:
    described = bundle.input.to_json()
    return {
        "class_names": json.dumps(bundle.class_names, ensure_ascii=False),
        "mean": json.dumps(normalization.mean),
        "std": json.dumps(normalization.std),
        "normalization": _NORMALIZATION,
        "layout": "NCHW",
        "input_size": str(bundle.input.stored_size),
        **{key: described[key] for key in ("color", "fit", "resampling")},
        "licence": bundle.facts.licence,
    }


def _normalization(model: ModelProto, size: int) -> _Normalization | None:
    """Returns what stands before the last point that holds normalised pixels, None where there is none."""
    points = _way_in(model.graph)
    places = [place for place, point in enumerate(points) if point.kind == TensorProto.FLOAT]
    if not places:
        return None
    images = np.random.Generator(np.random.Philox(0)).integers(0, 256, (3, size, size, 3), np.uint8)
    images[0], images[1] = 0, 255
    part = _part(model, [], [_floats(points[place].name) for place in places])
    values = cpu_session(part.SerializeToString()).run(None, {INPUT_NAME: images})
    for place, found in zip(reversed(places), reversed(values), strict=True):
        point = points[place]
        if any(before.shape_is_read and before.nchw != point.nchw for before in points[:place]):
            continue
        nhwc = found.transpose(0, 2, 3, 1) if point.nchw else found
        black, white = nhwc[:2].mean(axis=(1, 2), dtype=np.float64)
        scaled = black + images / 255 * (white - black)
        if (white > black).all() and np.abs(nhwc - scaled).max() <= _TOLERANCE * np.abs(nhwc).max():
            std = 1 / (white - black)
            return _Normalization(point, _rounded(-black * std), _rounded(std))
    return None


def _way_in(graph: GraphProto) -> list[_Point]:
    """Returns the tensors from `images` on along which pixels stay where they are, while one way leads on."""
    fed, readers = {INPUT_NAME}, dict[str, list[NodeProto]]()
    for node in graph.node:
        if fed.intersection(node.input):
            fed.update(node.output)
        for name in node.input:
            readers.setdefault(name, []).append(node)
    points: list[_Point] = []
    name, nchw, kind = INPUT_NAME, False, int(TensorProto.UINT8)
    while True:
        shapes = [node for node in readers.get(name, []) if node.op_type == "Shape"]
        points.append(_Point(name, nchw, kind, any(map(_asks_for_more_than_the_batch, shapes))))
        others = [node for node in readers.get(name, []) if node.op_type != "Shape"]
        if len(others) != 1 or others[0].op_type not in _PER_PIXEL or len(fed & {*others[0].input}) != 1:
            return points
        (node,) = others
        said = _attributes(node)
        if node.op_type == "Transpose":
            perm = tuple(said.get("perm", ()))
            if (nchw, perm) not in _TURNED:
                return points
            nchw = _TURNED[nchw, perm]
        name, kind = node.output[0], said["to"] if node.op_type == "Cast" else kind


def _logits(graph: GraphProto) -> str | None:
    """Returns what the last softmax takes, None where the graph does not end in one over the classes."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(OUTPUT_NAME)
    while node is not None and node.op_type in ("Identity", "Cast"):  # probabilities are float32 already
        node = makers.get(node.input[0])
    if node is None or node.op_type != "Softmax" or _attributes(node).get("axis", -1) not in (1, -1):
        return None
    logits: str = node.input[0]
    return logits


def _part(
    model: ModelProto, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """Returns the graph between these tensors, without inputs from `images` on, and what only it needs."""
    whole = ModelProto()
    whole.CopyFrom(model)
    whole.graph.value_info.extend([*inputs, *outputs])
    names = [value.name for value in inputs] or [INPUT_NAME]
    return Extractor(whole).extract_model(names, [value.name for value in outputs])


def _floats(name: str, shape: Sequence[int | str] | None = None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _asks_for_more_than_the_batch(shape: NodeProto) -> bool:
    said = _attributes(shape)
    return (said.get("start", 0), said.get("end")) != (0, 1)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    """Returns them as far as they are known from float32: seven digits, and none behind the seventh place."""
    return [float(f"{value:.7g}") if abs(value) >= 1e-7 else 0.0 for value in values.tolist()]
