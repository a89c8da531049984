"""From the body of a request to pixels, in a decoding thread: a form, JSON, or the file itself."""

import base64
import binascii
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from python_multipart.multipart import parse_options_header

from pictorch.errors import DataError
from pictorch.images import InputSpec, TooManyPixelsError, decode_image
from pictorch.serving.limits import Limits, RequestError

FIELD, SEVERAL = "image", "images"
_MOST_HEAD_BYTES = 4096
_MOST_OTHER_FIELDS = 64
_SMALL_BODY_BYTES, _SMALL_PIXELS = 16_384, 64 * 64

_SEND = "send the file as form field `image`, as the body itself with its image type, or as JSON"


@dataclass(frozen=True)
class Intake:
    """The images of one request as the model sees them, uint8 (N, stored_size, stored_size, 3).

    `several` says whether a list was sent, which is answered by a list; `shown` holds the pixels as data
    URLs where they were asked for.
    """

    pixels: NDArray[np.uint8]
    several: bool
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads bodies for one model."""

    input: InputSpec
    limits: Limits

    def read(self, body: bytes, content_type: str, with_input: bool) -> Intake:
        """Returns the images of a body; raises RequestError."""
        kind = content_type.partition(";")[0].strip().lower()
        reads = _READERS.get(kind, _the_file if kind.startswith("image/") else None)
        if reads is None:
            said = f"Content-Type {kind[:80]!r} is not read here" if kind else "the Content-Type is missing"
            raise RequestError(415, "unsupported_media_type", f"{said}; {_SEND}")
        if not body:
            raise RequestError(400, "empty_body", f"the body is empty; {_SEND}")
        files, several = reads(body, content_type, self.limits)
        self.limits.check_number(len(files), self.input.stored_size)
        pixels = np.stack([self._pixels(data, place, several) for place, data in enumerate(files, 1)])
        return Intake(pixels, several, tuple(map(_data_url, pixels)) if with_input else ())

    def read_small(self, body: bytes, content_type: str, with_input: bool) -> Intake | None:
        """Returns the same of small images, which are decoded sooner than another thread takes them over.

        Returns None of any other, before they are decoded.
        """
        if len(body) > _SMALL_BODY_BYTES or self.input.stored_size**2 > _SMALL_PIXELS:
            return None
        try:
            return self._small.read(body, content_type, with_input)
        except RequestError as error:
            if error.code == "too_many_pixels":
                return None
            raise

    @cached_property
    def _small(self) -> "Reader":
        return replace(self, limits=replace(self.limits, max_pixels=_SMALL_PIXELS))

    def _pixels(self, data: bytes, place: int, several: bool) -> NDArray[np.uint8]:
        name = f"image {place}" if several else "image"
        try:
            return decode_image(
                data, self.input.stored_size, name, self.input.fit, check=self.limits.check_size
            )
        except RequestError:
            raise
        except TooManyPixelsError as error:
            raise RequestError(413, "too_many_pixels", str(error)) from None
        except DataError as error:
            raise RequestError(422, "not_an_image", str(error)) from None


Files = tuple[list[bytes], bool]


def _the_file(body: bytes, content_type: str, limits: Limits) -> Files:
    return [body], False


def _form(body: bytes, content_type: str, limits: Limits) -> Files:
    """Returns the files of the fields `image` and `images`; other fields are left alone (RFC 7578)."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    most = limits.max_images + _MOST_OTHER_FIELDS
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, most) if boundary else []
    if len(parts) < 2:
        raise RequestError(
            400, "bad_form", f"the form has nothing at its boundary {boundary[:40]!r}; {_SEND}"
        )
    if not parts[-1].startswith(b"--"):
        raise RequestError(400, "bad_form", "the form is cut off, or has too many fields; send it again")
    fields = (FIELD.encode(), SEVERAL.encode())
    files = [content for name, content in map(_file_of, parts[1:-1]) if name in fields]
    if not files:
        raise RequestError(422, "missing_field", f"the form has no file in a field `image`; {_SEND}")
    return files, len(files) > 1


def _file_of(part: bytes) -> tuple[bytes, bytes]:
    """Returns field name and content of a part of a form; the name is empty where it is no file."""
    head, _, content = part.partition(b"\r\n\r\n")
    for line in head[:_MOST_HEAD_BYTES].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            _, options = parse_options_header(value)
            return (options.get(b"name", b"") if b"filename" in options else b""), content
    return b"", b""


def _json(body: bytes, content_type: str, limits: Limits) -> Files:
    sent = read_json(body)
    given = [name for name in (FIELD, SEVERAL) if name in sent]
    if len(given) != 1:
        raise RequestError(
            422, "missing_field", 'the JSON must hold either "image" or "images"; send {"image": "<base64>"}'
        )
    several = given == [SEVERAL]
    texts = sent[SEVERAL] if several else [sent[FIELD]]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestError(
            422, "wrong_type", f"{given[0]!r} is no base64 text; send "
            + ('{"images": ["<base64>", "<base64>"]}' if several else '{"image": "<base64>"}')
        )  # fmt: skip
    return [_decoded(text) for text in texts], several


def read_json(body: bytes | memoryview) -> Mapping[str, Any]:
    """Returns the object that a body holds; raises RequestError."""
    try:
        sent = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "bad_json", f"the body is no JSON ({str(error)[:100]}); mend it") from None
    if not isinstance(sent, dict):
        raise RequestError(422, "wrong_type", "the JSON is no object; send one in {braces}")
    return sent


def _decoded(text: str) -> bytes:
    """Returns the bytes of base64, plain or in a data URL."""
    if text.startswith("data:"):
        text = text.partition(";base64,")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            400, "bad_base64", "the image is no base64; encode the file with `base64 FILE`"
        ) from None


def _data_url(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_READERS: dict[str, Callable[[bytes, str, Limits], Files]] = {
    "multipart/form-data": _form,
    "application/json": _json,
    "application/octet-stream": _the_file,
}
