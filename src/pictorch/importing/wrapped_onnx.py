"""A foreign graph inside a bundle's: preprocessing before it, softmax behind it, any number of images."""

from typing import Any

import onnx
from onnx import NodeProto, TensorProto, compose, helper, numpy_helper

from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME
from pictorch.importing.feed import Feed
from pictorch.importing.foreign_onnx import ForeignModel

_PREFIX = "model/"  # before every name of the foreign graph, so that none meets one of ours
_IR_VERSION = 10


def wrapped_bytes(
    foreign: ForeignModel, feed: Feed, num_classes: int, *, softmax: bool, flatten: bool
) -> bytes:
    """Returns a bundle's ONNX file: `images` uint8 (N, size, size, 3) to `probabilities` (N, num_classes).

    `softmax` puts one behind scores that are logits, `flatten` takes scores (N, C, 1, 1) apart before it.
    A graph that was made for one image at a time gets reshapes for any number, which the caller has to try.
    Nothing in it depends on where or when it was made.
    """
    inner = compose.add_prefix(foreign.model, _PREFIX).graph
    if feed.batch is not None:
        _widen(inner)
    before, constants = feed.nodes(INPUT_NAME, inner.input[0].name)
    behind = _ending(inner, softmax, flatten)
    graph = helper.make_graph(
        [*before, *inner.node, *behind],
        "imported",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", feed.size, feed.size, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", num_classes])],
        [*constants, *inner.initializer],
    )
    graph.sparse_initializer.extend(inner.sparse_initializer)
    for part in [*graph.node, *graph.initializer, *(each for node in graph.node for each in node.attribute)]:
        part.ClearField("doc_string")
    for part in [*graph.node, *graph.initializer]:
        part.ClearField("metadata_props")
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", foreign.opset)],
        ir_version=max(_IR_VERSION, foreign.model.ir_version),
        producer_name="pictorch",
    )
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _ending(inner: onnx.GraphProto, softmax: bool, flatten: bool) -> list[NodeProto]:
    """Returns what comes behind the scores; where nothing does, they get the output's name themselves."""
    scores = inner.output[0]
    steps: list[tuple[str, dict[str, Any]]] = [("Flatten", {"axis": 1})] if flatten else []
    if scores.type.tensor_type.elem_type != TensorProto.FLOAT:
        steps.append(("Cast", {"to": TensorProto.FLOAT}))
    steps += [("Softmax", {"axis": 1})] if softmax else []
    names = [scores.name, *(f"pictorch.ending_{number}" for number in range(1, len(steps))), OUTPUT_NAME]
    if steps:
        return [
            helper.make_node(operator, [names[place]], [names[place + 1]], **attributes)
            for place, (operator, attributes) in enumerate(steps)
        ]
    for node in inner.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                if name == scores.name:
                    side[place] = OUTPUT_NAME
    return []


def _widen(graph: onnx.GraphProto) -> None:
    """Lets reshapes to one image, (1, ...), keep the number of images that they get."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    tensors = [tensor for tensor in graph.initializer if tensor.name in shapes]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            tensors += [attribute.t for attribute in node.attribute if attribute.name == "value"]
    for tensor in tensors:
        shape = numpy_helper.to_array(tensor).copy()
        if shape.size and shape[0] == 1:
            shape[0] = 0 if -1 in shape else -1  # 0 keeps that of the input
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
