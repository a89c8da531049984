"""The ONNX file of another framework: cut down to one image input and one output of scores, and run as it is.

What a bundle may not hold is refused here with what helps: weights in other files, operators of other
domains than ONNX's own, sub-graphs. The cut comes first, since what the scores do not need, such as the
labels and the ZipMap of scikit-learn's converter, may be anything.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, inliner, version_converter

from pictorch.bundle.onnx_model import cpu_session
from pictorch.errors import CheckpointError, RecipeError, listed, unknown, unreadable
from pictorch.images import shown

OLDEST_OPSET = 13  # older graphs are converted to it; int8 needs it

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_OWN_DOMAINS = {"", "ai.onnx"}
_INNER = {AttributeProto.GRAPH, AttributeProto.GRAPHS}


@dataclass(frozen=True)
class ForeignModel:
    """A foreign file, `data`, and in `model` what its `scores` need of it, functions inlined.

    `answer` is what the file itself calls the output that `scores` become; `name` is what messages call it,
    `producer` the program that wrote it.
    """

    name: str
    producer: str
    data: bytes
    model: onnx.ModelProto
    scores: str
    answer: str

    @property
    def input(self) -> onnx.ValueInfoProto:
        """What the scores are computed from."""
        value: onnx.ValueInfoProto = self.model.graph.input[0]
        return value

    @property
    def opset(self) -> int:
        """The number of ONNX's operator set in `model`."""
        return _opset(self.model)

    @cached_property
    def _session(self) -> Any:
        try:
            return cpu_session(self.data)
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise CheckpointError(
                f"{self.name} cannot be loaded by ONNX Runtime ({reason_of(error)}); "
                "export it again with operators of ONNX's own"
            ) from None

    def answers(self, fed: NDArray[Any], size: int) -> NDArray[np.float32]:
        """Returns what the whole file gives for `fed`, float32 (N, ...); raises CheckpointError.

        `size` is that of the images, for the message.
        """
        try:
            (answer,) = self._session.run([self.answer], {self.input.name: fed})
        except CheckpointError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise CheckpointError(
                f"{self.name} fails on images of {size} x {size} pixels ({reason_of(error)}); "
                "give the size that it was made for as --input-size"
            ) from None
        if isinstance(answer, list):  # of dicts, which ZipMap makes
            answer = [list(row.values()) for row in answer]
        return np.asarray(answer, np.float32)


def read_foreign(path: Path, num_classes: int, output: str | None = None) -> ForeignModel:
    """Returns the model of an ONNX file; `output` names that of the scores where there are several.

    Without it the only one of floating point is taken, or of several the only one with `num_classes`
    values for each image. Raises CheckpointError for what no bundle may hold, RecipeError for `output`.
    """
    name = shown(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{name} {unreadable(path, error)}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's errors share no public class
        model.Clear()
    if not model.graph.node:
        raise CheckpointError(f"{name} is not an ONNX model, or was cut off; export or copy it again")
    _check_whole(model, name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    producer = f"{model.producer_name} {model.producer_version}".strip() or "an unnamed program"
    answer, scores = _scores(model.graph, num_classes, output, name)
    _cut(model.graph, scores)
    _check_operators(model.graph, name)
    if len(model.graph.input) != 1:
        inputs = listed(value.name for value in model.graph.input) or "none"
        raise CheckpointError(
            f"{name} takes {len(model.graph.input)} inputs for {answer} ({inputs}), a classifier of images "
            "one; export it again with the others as constants"
        )
    return ForeignModel(name, producer, data, _modern(model, name), scores, answer)


def dimensions(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Returns the shape of a tensor, None for what is dynamic in it, and None where it is not stated."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]


def reason_of(error: Exception) -> str:
    """Returns the first line of an error, as far as it fits into a message."""
    return str(error).strip().partition("\n")[0].rpartition(" : ")[2][:90] or type(error).__name__


def _check_whole(model: onnx.ModelProto, name: str) -> None:
    """Nothing of a foreign file may be read from another one, and ONNX Runtime would."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    tensors = list(model.graph.initializer)
    while nodes:
        for attribute in nodes.pop().attribute:
            tensors += [attribute.t, *attribute.tensors]
            for graph in (attribute.g, *attribute.graphs):
                nodes += graph.node
                tensors += graph.initializer
    if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise CheckpointError(
            f"{name} keeps weights in another file (external data); make one file of them, "
            "in Python: onnx.save(onnx.load('MODEL.onnx'), 'whole.onnx')"
        )


def _scores(graph: onnx.GraphProto, num_classes: int, asked: str | None, name: str) -> tuple[str, str]:
    """Returns (the name of the output, the name of the tensor that it is made of)."""
    outputs = {value.name: value for value in graph.output}
    if asked is not None and asked not in outputs:
        raise RecipeError(unknown("--output", asked, outputs))
    makers = {made: node for node in graph.node for made in node.output}
    found, sizes = {}, dict[str, int | None]()
    for output, value in outputs.items():
        maker = makers.get(output)
        if maker is not None and maker.op_type == "ZipMap":
            found[output], sizes[output] = maker.input[0], num_classes
        elif value.type.tensor_type.elem_type in _FLOATS:
            found[output], sizes[output] = output, (dimensions(value) or [None])[-1]
    fitting = [output for output in found if sizes[output] == num_classes]
    chosen = [output for output in (asked,) if output in found] if asked else list(found)
    if not chosen:
        raise CheckpointError(
            f"{name} gives {listed([asked] if asked else outputs)} and in it no floating-point scores of "
            "classes; export it again with its logits or probabilities"
        )
    if len(chosen) > 1 and len(fitting) != 1:
        raise RecipeError(
            f"{name} gives {len(chosen)} outputs ({listed(chosen)}), of which {len(fitting)} have "
            f"{num_classes} values; say which holds the scores, as `--output {chosen[0]}`"
        )
    answer = chosen[0] if len(chosen) == 1 else fitting[0]
    return answer, found[answer]


def _cut(graph: onnx.GraphProto, scores: str) -> None:
    """Leaves in the graph what `scores` needs, and as its inputs those without values."""
    needed, kept = {scores}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    given = {tensor.name for tensor in weights}
    inputs = [value for value in graph.input if value.name in needed - given]
    cut = onnx.helper.make_graph(
        kept[::-1],
        "cut",
        inputs,
        [onnx.ValueInfoProto(name=scores)],
        weights,
    )
    types = {value.name: value for value in graph.output}
    if scores in types:
        cut.output[0].CopyFrom(types[scores])
    cut.sparse_initializer.extend(graph.sparse_initializer)
    graph.CopyFrom(cut)


def _check_operators(graph: onnx.GraphProto, name: str) -> None:
    for node in graph.node:
        foreign = node.domain not in _OWN_DOMAINS
        if foreign or any(attribute.type in _INNER for attribute in node.attribute):
            kind = f"of the domain {shown(node.domain[:40])}" if foreign else "which holds a sub-graph"
            raise CheckpointError(
                f"{name} needs {shown(node.op_type[:40])} {kind}; a bundle takes plain operators of ONNX's "
                "own, as those of neural networks: export such a one"
            )


def _modern(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    if _opset(model) >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, OLDEST_OPSET)
    except Exception as error:  # the converter's errors share no narrower class
        raise CheckpointError(
            f"{name} has the operator set {_opset(model)}, which cannot be brought to {OLDEST_OPSET} "
            f"({reason_of(error)}); export it again with operator set {OLDEST_OPSET} or newer"
        ) from None


def _opset(model: onnx.ModelProto) -> int:
    return max((each.version for each in model.opset_import if each.domain in _OWN_DOMAINS), default=1)
