"""The web form: a static folder with the page of the server, whose model runs in the browser itself.

ONNX Runtime's WebAssembly build computes in a worker of the page; `make web-runtime` brings it. The page
replays the bundle's golden samples before it answers, and a service worker keeps every file on the device.
"""

import hashlib
import shlex
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pictorch.bundle.agreement import tie_margin
from pictorch.bundle.bundle import CARD, MANIFEST, MODEL, Bundle
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.durable import json_bytes
from pictorch.errors import MissingPartError
from pictorch.exporting.forms import ExportedForm, FormSource, check_agreement, write_form

_FORM = "web"
_PAGE = Path(__file__).parents[1] / "page"
_BROWSER = Path(__file__).with_name("browser")
_RUNTIME = _BROWSER / "runtime"
_RUNTIME_FILES = ("ort.js", "ort.wasm", "LICENSE.txt", "ThirdPartyNotices.txt")
_WORKER = "service-worker.js"
_PAPER = {"light": "#fcfbf9", "dark": "#131417"}  # as in page.css
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_HEAD = f"""\
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer">
<title>pictorch</title>
<link rel="manifest" href="manifest.webmanifest">
<link rel="icon" href="static/icon.svg">
<link rel="apple-touch-icon" href="static/icon-192.png">
<meta name="theme-color" media="(prefers-color-scheme: light)" content="{_PAPER["light"]}">
<meta name="theme-color" media="(prefers-color-scheme: dark)" content="{_PAPER["dark"]}">"""
_MORE = """\
<p class="note" id="kept"></p>
    <p class="note"><a href="MODEL_CARD.md">Model card</a> · computed by ONNX Runtime
      (<a href="runtime/LICENSE.txt">licence</a>, <a href="runtime/ThirdPartyNotices.txt">notices</a>)</p>"""
# What index.html says of a server, and what stands there in this form.
_CHANGES = {
    '<title>pictorch serve</title>\n<link rel="icon" href="data:,">': _HEAD,
    "<b>pictorch</b> serve": "<b>pictorch</b>",
    'id="facts"></p>': 'id="facts">If this line stays, the page was opened as a file. It must come from a '
    "web server: <code>python3 -m http.server</code> in its folder.</p>",
    "This page needs JavaScript. Without it: <code>curl -F image=@photo.jpg</code> and this address with "
    "<code>/predict</code> at its end.": "This page needs JavaScript: the model runs in your browser.",
    ",image/tiff,image/x-portable-pixmap": "",
    '<p class="note" id="privacy"></p>': f'<p class="note" id="privacy"></p>\n    {_MORE}',
}


def check_runtime() -> None:
    """Raises MissingPartError where `make web-runtime` has not been run."""
    if not all((_RUNTIME / name).exists() for name in _RUNTIME_FILES):
        raise MissingPartError(
            "web", "ONNX Runtime for browsers", "run `make web-runtime` in a clone of pictorch"
        )


def make(source: FormSource, target: Path) -> ExportedForm:
    """Writes the page with the bundle's graph in it and returns what it is.

    Raises MissingPartError where the runtime is not there, GateError where the file answers otherwise than
    the bundle, ResourceError.
    """
    check_runtime()
    bundle, graph = source.bundle, source.bundle.files[MODEL]
    written = OnnxModel(
        graph, name=f"{target}/{MODEL}", size=bundle.input.stored_size, num_classes=len(bundle.class_names)
    )
    agreement = check_agreement(_FORM, source, partial(written.probabilities, batch_size=1))
    golden, probabilities = bundle.golden()
    files = {
        **{f"static/{path.name}": path.read_bytes() for path in (*_files_of(_PAGE), *_files_of(_BROWSER))},
        **{f"runtime/{name}": (_RUNTIME / name).read_bytes() for name in _RUNTIME_FILES},
        "index.html": _index().encode(),
        "manifest.webmanifest": json_bytes(_manifest(_title(bundle))),
        "model.json": json_bytes(_facts(bundle)),
        "golden.bin": probabilities.astype("<f4").tobytes() + np.ascontiguousarray(golden).tobytes(),
        MODEL: graph,
        CARD: bundle.files.get(CARD, b""),
    }
    del files["static/index.html"]
    script, listed = files.pop(f"static/{_WORKER}"), json_bytes(_hashes(files))
    version = hashlib.sha256(script + listed).hexdigest()[:16]
    files[_WORKER] = f'const VERSION = "{version}", FILES = '.encode() + listed.rstrip() + b";\n" + script
    facts = {"version": version, "golden_samples": len(golden)}
    sizes = write_form(_FORM, target, files, facts)
    command = f"python3 -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(target))}"
    return ExportedForm(_FORM, target, sizes, agreement, facts, command)


def _files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file()]


def _title(bundle: Bundle) -> str:
    return str(bundle.recipe.get("name", "model"))


def _facts(bundle: Bundle) -> dict[str, Any]:
    """Returns model.json, what the page knows of the model; the names are those of the page's scripts."""
    tolerance = bundle.facts.golden_tolerance
    return {
        "name": _title(bundle),
        "version": hashlib.sha256(bundle.files[MANIFEST]).hexdigest()[:12],
        "classes": list(bundle.class_names),
        "size": bundle.input.stored_size,
        "fit": bundle.input.fit,
        "metrics": bundle.facts.metrics,
        "tolerance": tolerance,
        "tie": tie_margin(tolerance),
    }


def _index() -> str:
    page = (_PAGE / "index.html").read_text("utf-8")
    for of_the_server, here in _CHANGES.items():
        assert page.count(of_the_server) == 1, of_the_server
        page = page.replace(of_the_server, here)
    return page


def _manifest(title: str) -> dict[str, Any]:
    """Returns what a browser installs the page by; its addresses are relative to the manifest's own."""
    pictures = [("static/icon.svg", "any", "image/svg+xml")]
    pictures += [(f"static/icon-{side}.png", f"{side}x{side}", "image/png") for side in (192, 512)]
    return {
        "name": title,
        "short_name": title,
        "description": "Names what is in images, on this device.",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": _PAPER["light"],
        "theme_color": _PAPER["light"],
        "icons": [
            {"src": address, "sizes": sizes, "type": kind, "purpose": "any maskable"}
            for address, sizes, kind in pictures
        ],
    }


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the hash of each file in the form that browsers check; the page itself is asked for as ./."""
    return {
        "./" if name == "index.html" else name: "sha256-" + b64encode(hashlib.sha256(data).digest()).decode()
        for name, data in sorted(files.items())
    }
