"""Reads an ONNX file's structure before ONNX Runtime does, and refuses what a classifier never needs.

External data names files on the reader's disk, foreign operator domains name code, sub-graphs and
functions hold loops. The walk follows Protocol Buffers' wire format and the field numbers of
onnx.proto, so that the base install needs no onnx package, and steps over the weights. The same walk
finds the weights when somebody wants to train on them.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pictorch.bundle.source import AGAIN
from pictorch.errors import CheckpointError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = "model", "graph", "node", "attribute", "tensor"

_ENTERED = {
    _MODEL: {7: _GRAPH},
    _GRAPH: {1: _NODE, 5: _TENSOR},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 10: _TENSOR},
    _TENSOR: {},
}
_REFUSED = {
    _MODEL: {20: "training graphs", 25: "functions"},
    _GRAPH: {15: "sparse weights"},
    _NODE: {},
    _ATTRIBUTE: {6: "sub-graphs", 11: "sub-graphs", 22: "sparse weights", 23: "sparse weights"},
    _TENSOR: {13: "external data", 14: "external data"},
}
_NODE_DOMAIN = 7
_KNOWN_DOMAINS = {b"", b"ai.onnx"}
_MOST_FIELDS = 2_000_000
_MODEL_GRAPH, _GRAPH_WEIGHTS = 7, 5
_DIMENSIONS, _DATA_TYPE, _NAME, _RAW_DATA, _FLOAT32 = 1, 2, 8, 9, 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_onnx(model: bytes, name: str) -> None:
    """Raises CheckpointError unless `model` is whole in itself and uses standard operators only.

    `name` is what the message calls the file.
    """
    waiting: list[tuple[str, memoryview]] = [(_MODEL, memoryview(model))]
    fields_left = _MOST_FIELDS
    while waiting:
        kind, message = waiting.pop()
        for field, value in _fields(message, name):
            fields_left -= 1
            if fields_left == 0:
                raise CheckpointError(f"{name} is refused: more than {_MOST_FIELDS:,} fields; {AGAIN}")
            _check_field(kind, field, value, name)
            entered = _ENTERED[kind].get(field)
            if entered and isinstance(value, memoryview):
                waiting.append((entered, value))


def float_weights(model: bytes, name: str) -> dict[str, NDArray[np.float32]]:
    """Returns the float32 initialisers of a graph by name, as export writes them; raises CheckpointError.

    The model is checked first; `name` is what the message calls the file.
    """
    check_onnx(model, name)
    weights = {}
    for graph in _messages(memoryview(model), _MODEL_GRAPH, name):
        for tensor in _messages(graph, _GRAPH_WEIGHTS, name):
            weights.update(_float_tensor(tensor, name))
    return weights


def _messages(message: memoryview, wanted: int, name: str) -> Iterator[memoryview]:
    for field, value in _fields(message, name):
        if field == wanted and isinstance(value, memoryview):
            yield value


def _float_tensor(message: memoryview, name: str) -> dict[str, NDArray[np.float32]]:
    """Returns a tensor of onnx.proto under its name, nothing where it holds no raw float32."""
    shape, kept = list[int](), dict[int, int | memoryview]()
    for field, value in _fields(message, name):
        if field == _DIMENSIONS and isinstance(value, int):
            shape.append(value)
        kept[field] = value
    raw, said = kept.get(_RAW_DATA), kept.get(_NAME)
    if (
        kept.get(_DATA_TYPE) != _FLOAT32
        or not isinstance(raw, memoryview)
        or not isinstance(said, memoryview)
    ):
        return {}
    try:
        return {bytes(said).decode(): np.frombuffer(raw, "<f4").reshape(shape)}
    except ValueError:
        raise _damaged(name) from None


def _check_field(kind: str, field: int, value: int | memoryview, name: str) -> None:
    refused = _REFUSED[kind].get(field)
    if refused and value != 0:
        raise CheckpointError(f"{name} is refused: it holds {refused}, which no bundle needs; {AGAIN}")
    if kind == _NODE and field == _NODE_DOMAIN and isinstance(value, memoryview):
        domain = bytes(value[:80])
        if domain not in _KNOWN_DOMAINS:
            raise CheckpointError(
                f"{name} is refused: operator domain {domain.decode(errors='replace')!r} is not ONNX's own; "
                f"{AGAIN}"
            )


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value) of a message; the value of a fixed-width number is given as 1."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position, name)
        field, wire_type = tag >> 3, tag & 7
        value: int | memoryview = 1
        if wire_type == _VARINT:
            value, position = _varint(message, position, name)
        elif wire_type == _BYTES:
            size, position = _varint(message, position, name)
            value, position = message[position : position + size], position + size
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        else:
            raise _damaged(name)
        if position > end:
            raise _damaged(name)
        yield field, value


def _varint(message: memoryview, position: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _damaged(name)


def _damaged(name: str) -> CheckpointError:
    return CheckpointError(f"{name} is not an ONNX model; {AGAIN}")
