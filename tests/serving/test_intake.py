"""Bodies of any kind become images or one sentence, and never another error."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pictorch.images import InputSpec
from pictorch.serving.intake import Reader
from pictorch.serving.limits import Limits, RequestError

READER = Reader(InputSpec(8, 8), Limits())
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
FORM = HEAD + PIXEL + b"\r\n--b--\r\n"
PIECES = [FORM, HEAD, PIXEL, b"--b", b"\r\n", b"--b--\r\n", b'{"image": ', b'"x"}', b"\x00\xff", b"]"]
FORM_TYPE = "multipart/form-data; boundary="
TYPES = [
    f"{FORM_TYPE}b",
    "multipart/form-data",
    FORM_TYPE + "b" * 300,
    "application/json",
    "image/png",
    "text/plain",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("aW1hZ2U="),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.sampled_from(["image", "images", "x"]), one),
)


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def outcome(body: bytes, content_type: str) -> int:
    """Returns the number of images, or the status of the one error that there may be."""
    try:
        intake = READER.read(body, content_type, with_input=True)
    except RequestError as error:
        return error.status if "; " in str(error) else 0
    return len(intake.pixels) if len(intake.pixels) == len(intake.shown) else 0


@pytest.mark.parametrize(("side", "at_once"), [(64, True), (65, False)])
def test_small_images_are_read_at_once(side: int, at_once: bool) -> None:
    sent = HEAD + png(side) + b"\r\n" + FORM, TYPES[0], True
    small, whole = READER.read_small(*sent), READER.read(*sent)
    assert (small is not None) == at_once
    if small is not None:
        np.testing.assert_array_equal(small.pixels, whole.pixels)
        assert (small.several, small.shown) == (whole.several, whole.shown)


def test_what_takes_long_is_not_read_at_once() -> None:
    assert READER.read_small(png(20) + bytes(16_384), "image/png", False) is None, "many bytes"
    large_input = Reader(InputSpec(65, 65), Limits())
    assert large_input.read_small(png(20), "image/png", False) is None, "many pixels to make"


def test_base64_may_have_lines() -> None:
    text = base64.encodebytes(PIXEL).decode()
    assert "\n" in text
    assert outcome(json.dumps({"image": text}).encode(), "application/json") == 1


def test_a_form_with_other_fields_is_read() -> None:
    other = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    stray = b'--b\r\nContent-Disposition: form-data; name="mask"; filename="m"\r\n\r\nno image\r\n'
    assert outcome(other + stray + FORM, "Multipart/Form-Data; boundary=b") == 1


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TYPES), st.lists(st.sampled_from(PIECES) | st.binary(max_size=30), max_size=8))
def test_any_body_is_images_or_one_sentence(content_type: str, pieces: list[bytes]) -> None:
    assert outcome(b"".join(pieces), content_type) in (1, 2, 3, 4, 5, 6, 7, 8, 400, 413, 415, 422)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_json_is_images_or_one_sentence(sent: object) -> None:
    assert outcome(json.dumps(sent).encode(), "application/json") in (400, 413, 422)
