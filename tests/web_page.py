"""What the tests of the web form do: write it, put it behind a plain file server, ask its page."""

import io
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import pictorch
from pictorch.exporting import web
from tiny_bundle import make_bundle

# Asks the page's own answerer, so that probabilities come as they are and not as they are printed.
_ASK = """async ([files, module]) => {
    const { predict } = await import(module);
    const uploads = files.map(([name, data]) =>
        new File([Uint8Array.from(atob(data), (one) => one.charCodeAt(0))], name));
    const answers = [];
    for await (const { answer, problem } of predict(uploads)) {
        answers.push(answer ?? { problem: problem.message });
    }
    return answers;
}"""


def needs_runtime() -> None:
    """Skips where `make web-runtime` has not been run."""
    if not (web._RUNTIME / "ort.wasm").exists():
        pytest.skip("no ONNX Runtime for browsers: make web-runtime")


def web_form(place: Path, bundle: Path | None = None, **changes: Any) -> Path:
    """Writes the web form of a bundle, without one that of three colours, changed; returns its folder."""
    needs_runtime()
    bundle = bundle or make_bundle(place / "colors", **changes).path
    return Path(pictorch.export(bundle, to="web", out=place / "site").path)


def answers(page: Any, *files: bytes) -> list[dict[str, Any]]:
    """Returns what the page's model says of files: {top, seen, milliseconds} or {problem} for each."""
    sent = [(f"{number}.png", b64encode(data).decode()) for number, data in enumerate(files)]
    module = page.evaluate("new URL('static/answerer.js', document.baseURI).href")
    found: list[dict[str, Any]] = page.evaluate(_ASK, [sent, module])
    return found


def image_bytes(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    data = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(data, kind, **options)
    return data.getvalue()


# A server need not know WebAssembly, nor what a manifest is.
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = _KINDS

    def log_message(self, *unused: Any) -> None:
        """Says nothing."""


@contextmanager
def static_site(folder: Path, port: int = 0) -> Iterator[str]:
    """Yields the address of the folder, with a slash at its end; it answers until the block is left."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
