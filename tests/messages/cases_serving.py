"""The server: why it does not start, and each answer by which it refuses a request."""

import asyncio
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from PIL import Image
from starlette.testclient import TestClient

from messages.case import Case, Remedy, instead, told, typed
from messages.faults import not_installed, patched
from messages.material import bundle
from pictorch.serving import process
from pictorch.serving.limits import Limits

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]


@contextmanager
def taken() -> Iterator[None]:
    """Listens on the port, as another program would."""
    with socket.create_server(("127.0.0.1", PORT)):
        yield


def that_ends(remedy: Remedy) -> Remedy:
    """Carries out a remedy with a server that ends as soon as it listens."""

    def carry_out(case: Case, message: str) -> None:
        with patched(process.Server, "run", lambda self: self._listener.close())():
            remedy(case, message)

    return carry_out


# fmt: off
CASES = [
    Case("port in use", f"serve bundle --port {PORT}", 5, f"127.0.0.1:{PORT} is in use", that_ends(typed()), bundle, taken),
    Case("address of another machine", "serve bundle --host 192.0.2.1 --port 0", 5, "192.0.2.1:0", that_ends(typed()), bundle),
    Case("port that is none", "serve bundle --port 70000", 2, "--port 70000", that_ends(typed()), bundle),
    Case("limit that lets nothing in", "serve bundle --port 0 --max-in-flight 0", 2, "--max-in-flight 0", that_ends(instead("serve bundle --port 0 --max-in-flight 1", says="give a number above 0")), bundle),
    Case("uvicorn is not installed", "serve bundle", 9, "uvicorn", told("installs a package", says="`pip install 'pictorch[serve]'`"), bundle, not_installed("uvicorn", gone="pictorch.serving.process")),
]
# fmt: on


@dataclass(frozen=True)
class Refusal:
    """A request, the status and code of its answer, and what its message must name.

    The code is '' where the Open Inference Protocol wants the error to be a text.
    """

    name: str
    status: int
    code: str
    names: str
    ask: Callable[[TestClient], Any]
    limits: Limits | None = None


def image(width: int = 9, height: int = 9) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """Returns a PNG whose head claims `side` x `side` pixels, and the beginning of them."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    sealed = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + sealed + struct.pack(">I", 9) + b"IDAT" + bytes(9)


def body(content: bytes | str, kind: str = "image/png", **headers: str) -> Callable[[TestClient], Any]:
    given = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda client: client.post("/predict", content=content, headers=given)


def form(*files: tuple[str, bytes]) -> Callable[[TestClient], Any]:
    return lambda client: client.post("/predict", files=[(name, ("x", data)) for name, data in files])


def sent(**values: Any) -> Callable[[TestClient], Any]:
    return body(json.dumps(values), "application/json")


def when_full(client: TestClient) -> Any:
    traffic = client.app.state.service.traffic  # type: ignore[attr-defined]
    traffic.in_flight += 64
    try:
        return client.post("/predict", content=image(), headers={"Content-Type": "image/png"})
    finally:
        traffic.in_flight -= 64


def slowly(client: TestClient) -> Any:
    """Asks the application itself, with a body that never comes."""
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
    with ThreadPoolExecutor(1) as thread:  # this one may have an event loop
        thread.submit(asyncio.run, client.app(scope, receive, send)).result()  # type: ignore[arg-type]

    return httpx2.Response(said[0]["status"], headers=said[0]["headers"], content=said[1]["body"])


# fmt: off
REFUSALS = [
    Refusal("empty body", 400, "empty_body", "the body is empty", body(b"")),
    Refusal("text in place of JSON", 400, "bad_json", "Expecting value", body("photo.png", "application/json")),
    Refusal("JSON that is a list", 422, "wrong_type", "no object", body("[]", "application/json")),
    Refusal("JSON without an image", 422, "missing_field", '"image"', sent(picture="x")),
    Refusal("JSON with a number", 422, "wrong_type", "'image'", sent(image=5)),
    Refusal("JSON with an empty list", 422, "wrong_type", "'images'", sent(images=[])),
    Refusal("JSON with a path", 400, "bad_base64", "`base64 FILE`", sent(image="photo.png")),
    Refusal("form without a boundary", 400, "bad_form", "its boundary b''", body(b"--x", "multipart/form-data")),
    Refusal("form that is none", 400, "bad_form", "its boundary b'x'", body(b"no form", "multipart/form-data; boundary=x")),
    Refusal("form that is cut off", 400, "bad_form", "cut off", body(b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nPNG', "multipart/form-data; boundary=x")),
    Refusal("form without the field", 422, "missing_field", "`image`", form(("file", image()))),
    Refusal("wrong content type", 415, "unsupported_media_type", "'text/plain'", body(image(), "text/plain")),
    Refusal("what curl sends by itself", 415, "unsupported_media_type", "'application/x-www-form-urlencoded'", body(image(), "application/x-www-form-urlencoded")),
    Refusal("compressed body", 415, "compressed", "send it as it is", body(image(), Content_Encoding="gzip")),
    Refusal("page in place of an image", 422, "not_an_image", "image: not an image that is read here (it is an HTML page)", body(b"<!doctype html><p>")),
    Refusal("second file that is none", 422, "not_an_image", "image 2: ", form(("image", image()), ("image", b"GIF8"))),
    Refusal("image that is cut off", 422, "not_an_image", "damaged or truncated", body(image(99, 99)[:-30])),
    Refusal("decompression bomb", 413, "too_many_pixels", "12,000 x 12,000", body(bomb(12_000))),
    Refusal("bomb that Pillow knows", 413, "too_many_pixels", "178,956,970", body(bomb(60_000))),
    Refusal("bomb that Pillow only warns of", 413, "too_many_pixels", "178,956,970", body(bomb(14_000))),
    Refusal("image of 1 x 50,000", 422, "too_elongated", "1 x 50,000", body(image(1, 50_000))),
    Refusal("too many images", 413, "too_many_images", "3 images", form(*[("image", image())] * 3), Limits(max_images=2)),
    Refusal("body that is too large", 413, "body_too_large", "100 bytes", body(bytes(101)), Limits(max_body_bytes=100)),
    Refusal("body that does not come", 408, "too_slow", "0.01 s", slowly, Limits(receive_seconds=0.01)),
    Refusal("full server", 503, "full", "come again in", when_full),
    Refusal("class number that is none", 422, "bad_parameter", "query top", lambda client: client.post("/predict?top=4", content=image())),
    Refusal("wrong method", 405, "method_not_allowed", "use POST", lambda client: client.get("/predict")),
    Refusal("tensor of another name", 400, "", "'images'", lambda client: client.post("/v2/models/small/infer", json={"inputs": []})),
    Refusal("wrong address", 404, "not_found", "/predictions", lambda client: client.post("/predictions", content=image())),
]
# fmt: on
