"""Tensors of the Open Inference Protocol v2: JSON or binary to pixels, probabilities to JSON or binary.

https://github.com/kserve/open-inference-protocol, with Triton's binary tensor data extension.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME
from pictorch.serving.limits import Limits, RequestError

JSON_LENGTH = "Inference-Header-Content-Length"

_REFUSED = {"classification", "shared_memory_region"}
_SIZE = "binary_data_size"


class Tensor(BaseModel):
    """An input: its numbers row by row, or `binary_data_size` bytes of them behind the JSON."""

    name: Annotated[str, Field(examples=[INPUT_NAME])]
    shape: Annotated[list[int], Field(examples=[[1, 32, 32, 3]])]
    datatype: Annotated[str, Field(examples=["UINT8"])]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Wanted(BaseModel):
    """An output that is asked for."""

    name: Annotated[str, Field(examples=[OUTPUT_NAME])]
    parameters: dict[str, Any] = {}


class Inference(BaseModel):
    """What is asked of the model."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor]
    outputs: list[Wanted] | None = None


@dataclass(frozen=True)
class Asked:
    """A request that was understood: pixels uint8 (N, size, size, 3), and how the answer is wanted."""

    pixels: NDArray[np.uint8]
    id: str | None
    binary: bool

    def answer(self, rows: NDArray[np.float32], model: dict[str, str]) -> tuple[bytes, int | None]:
        """Returns the body that answers it, and the bytes of its JSON where binary data follows."""
        output: dict[str, Any] = {"name": OUTPUT_NAME, "datatype": "FP32", "shape": list(rows.shape)}
        record = {**model, "outputs": [output]} | ({} if self.id is None else {"id": self.id})
        if not self.binary:
            output["data"] = rows.ravel().tolist()
            return json.dumps(record).encode(), None
        binary = rows.astype("<f4").tobytes()
        output["parameters"] = {_SIZE: len(binary)}
        head = json.dumps(record).encode()
        return head + binary, len(head)


def read_inference(body: bytes, json_length: str, size: int, limits: Limits) -> Asked:
    """Returns what a body asks of a model for images of `size`; raises RequestError.

    `json_length` is the header that says how many bytes of JSON stand before the binary data, or ''.
    """
    end = len(body)
    if json_length:
        if not re.fullmatch(r"[0-9]{1,12}", json_length) or int(json_length) > end:
            _refuse(f"{JSON_LENGTH} {json_length[:20]!r} is no length within the body")
        end = int(json_length)
    try:
        asked = Inference.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg'][:150]}")
    if [each.name for each in asked.inputs] != [INPUT_NAME]:
        _refuse(f"there must be one input, named {INPUT_NAME!r}")
    wanted = asked.outputs or [Wanted(name=OUTPUT_NAME)]
    if [each.name for each in wanted] != [OUTPUT_NAME]:
        _refuse(f"there is one output, named {OUTPUT_NAME!r}")
    tensor, output = asked.inputs[0], wanted[0]
    for name in sorted(_REFUSED & {*tensor.parameters, *output.parameters}):
        _refuse(f"the parameter {name!r} is not known here")
    binary = output.parameters.get("binary_data", asked.parameters.get("binary_data_output", False))
    return Asked(_pixels(tensor, body[end:], size, limits), asked.id, binary is True)


def _pixels(tensor: Tensor, binary: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    if tensor.datatype != "UINT8":
        _refuse(f"{INPUT_NAME} is UINT8, not {tensor.datatype[:20]!r}")
    if len(tensor.shape) != 4 or tensor.shape[1:] != [size, size, 3] or tensor.shape[0] < 1:
        _refuse(f"{INPUT_NAME} has the shape [N, {size}, {size}, 3], not {str(tensor.shape)[:60]}")
    limits.check_number(tensor.shape[0], size)
    stated = tensor.parameters.get(_SIZE, 0)
    if stated != len(binary) or bool(binary) == (tensor.data is not None):
        _refuse(f"{INPUT_NAME} needs either data, or {_SIZE} and so many bytes behind the JSON")
    values = np.frombuffer(binary, np.uint8) if binary else _numbers(tensor.data or [])
    expected = tensor.shape[0] * size * size * 3
    if len(values) != expected:
        _refuse(f"{INPUT_NAME} has {len(values):,} values, its shape asks for {expected:,}")
    return values.reshape(tensor.shape)


def _numbers(data: list[Any]) -> NDArray[np.uint8]:
    """Returns whole numbers from 0 to 255, nested or not, as uint8 in one row."""
    try:
        values = np.array(data).ravel()
    except (ValueError, OverflowError):
        values = np.array([None])
    if values.dtype.kind != "i" or values.min() < 0 or values.max() > 255:
        _refuse(f"the data of {INPUT_NAME} must be whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _refuse(what: str) -> NoReturn:
    raise RequestError(400, "bad_inference", f"{what}; GET the model's address for what it takes")
