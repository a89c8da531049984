"""What no schema can say to schemathesis: that the bytes it sends are those of an image."""

import base64
import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def _file(side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, 2 * side), (side, 0, 200)).save(buffer, kind)
    return buffer.getvalue()


_PNG = st.integers(1, 20).map(lambda side: _file(side, "PNG"))
schemathesis.openapi.media_type("image/png", _PNG)
schemathesis.openapi.media_type("application/octet-stream", _PNG)
schemathesis.openapi.media_type("image/jpeg", st.integers(1, 20).map(lambda side: _file(side, "JPEG")))
schemathesis.openapi.format("image-base64", _PNG.map(lambda data: base64.b64encode(data).decode()))
