"""The shapes of requests and answers, as /openapi.json shows them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from pictorch.serving.inference_tensors import Inference
from pictorch.serving.limits import Limits


class ClassAnswer(BaseModel):
    """One class and its probability."""

    name: Annotated[str, Field(alias="class", examples=["cat"])]
    class_id: Annotated[int, Field(ge=0, examples=[3])]
    probability: Annotated[float, Field(ge=0, le=1, examples=[0.93])]


class Answer(ClassAnswer):
    """The most likely class of one image, and the `top` most likely ones."""

    top: list[ClassAnswer]
    input: Annotated[str | None, Field(description="PNG as a data URL: what the model sees")] = None


class Answers(BaseModel):
    """The answers to several images, in their order."""

    predictions: list[Answer]


class Problem(BaseModel):
    """What was wrong with a request."""

    code: Annotated[str, Field(examples=["not_an_image"])]
    message: Annotated[
        str, Field(examples=["image: not an image (it starts like text); use one of JPEG, PNG"])
    ]
    request_id: str


class Failure(BaseModel):
    """Every answer that is no success."""

    error: Problem


class Shape(BaseModel):
    """What the model takes and what is allowed."""

    name: str
    version: str
    classes: list[str]
    image_size: Annotated[int, Field(description="side of the square that an image is made into, in pixels")]
    channels: int
    fit: Annotated[str, Field(description="how an image becomes square: crop, pad or stretch")]
    metrics: dict[str, Any]
    limits: dict[str, float]


_BASE64 = {
    "type": "string",
    "format": "image-base64",
    "description": "an image file in base64, or a data URL",
}
_FILE = {"type": "string", "format": "binary"}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def predict_body(limits: Limits, stored_size: int) -> dict[str, Any]:
    """Returns the request body of POST /predict for OpenAPI."""
    most = limits.images_of(stored_size)
    form = {"type": "object", "required": ["image"], "properties": {"image": _FILE}}
    either = [{"type": "object", "required": [name]} for name in ("image", "images")]
    several = {"type": "array", "minItems": 1, "maxItems": most, "items": _BASE64}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"image": {"contentType": "image/png, image/jpeg"}},
                },
                "image/png": {"schema": _FILE},
                "image/jpeg": {"schema": _FILE},
                "application/octet-stream": {"schema": _FILE},
                "application/json": {
                    "schema": {"oneOf": either, "properties": {"image": _BASE64, "images": several}},
                    "examples": {
                        "one image": {"value": {"image": _PIXEL}},
                        "several images": {"value": {"images": [_PIXEL, f"data:image/png;base64,{_PIXEL}"]}},
                    },
                },
            },
        }
    }


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """Returns a schema in which each reference to one of its parts is that part."""
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(value, parts) for key, value in schema.items() if key != "$defs"}


_INFERENCE = Inference.model_json_schema()


INFERENCE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _inlined(_INFERENCE, _INFERENCE["$defs"])},
            "application/octet-stream": {"schema": _FILE},
        },
    }
}
PROTOCOL_ANSWER = {
    "model": dict[str, Any],
    "description": "Probabilities, float32 [N, classes]; behind the JSON where binary data was asked for",
    "content": {"application/octet-stream": {"schema": _FILE}},
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the answers of a route that are no success, for OpenAPI."""
    return {status: {"model": Failure, "description": _MEANINGS[status]} for status in statuses}


def protocol_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the same for a route of the Open Inference Protocol, whose errors are a text."""
    return {status: {"model": dict[str, Any], "description": _MEANINGS[status]} for status in statuses}


_MEANINGS = {
    400: "the body cannot be read",
    404: "there is nothing at this address",
    405: "this address knows another method",
    408: "the body did not arrive in time",
    413: "the body, an image or the number of images is too large",
    415: "this kind of body is not read",
    422: "a field is missing or an image cannot be used",
    503: "as many requests as allowed are being answered; Retry-After says when to come again",
}
