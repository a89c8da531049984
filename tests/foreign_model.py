"""A classifier as another framework could have written it: one matrix behind flattened pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIDE = 8
CLASSES = ("red", "green", "blue")  # not in the order of the alphabet

Shape = Sequence[int | str | None]


def foreign_weights(count: int, num_classes: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.4, (count, num_classes)).astype(np.float32)


def foreign_model(
    shape: Shape = ("N", 3, SIDE, SIDE),
    *,
    element: int = TensorProto.FLOAT,
    weights: NDArray[np.float32] | None = None,
    behind: Sequence[NodeProto] = (),
    outputs: Sequence[tuple[str, int, Shape]] = (("scores", TensorProto.FLOAT, ("N", 3)),),
    batch_in_reshape: int = -1,
    opset: int = 17,
) -> onnx.ModelProto:
    """Returns a graph from `pixels` to `scores`, which the nodes `behind` can make other outputs of."""
    if weights is None:
        weights = foreign_weights(3 * SIDE * SIDE if 3 in shape or len(shape) == 2 else SIDE * SIDE)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "row"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        *behind,
    ]
    tensors: dict[str, Any] = {
        "row": np.array([batch_in_reshape, len(weights)], np.int64),
        "weights": weights,
    }
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("pixels", element, shape)],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
