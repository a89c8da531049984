"""Remakes the pictures of the page that runs the model in the browser, as serve_page.py does.

    python docs/pictures/web_page.py BUNDLE IMAGE...

It needs the [dev] extra, `make web-runtime` and /usr/bin/chromium, and takes about ten seconds.
"""

import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from serve_page import photograph

import pictorch


class Quiet(SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, *unused: Any) -> None:
        """Says nothing."""


def main(bundle: str, *images: str) -> None:
    """Writes four PNG files."""
    with tempfile.TemporaryDirectory() as folder:
        pictorch.export(bundle, to="web", out=f"{folder}/site")
        files = partial(Quiet, directory=str(Path(folder, "site")))
        server = ThreadingHTTPServer(("127.0.0.1", 0), files)
        Thread(target=server.serve_forever, daemon=True).start()
        photograph(f"http://127.0.0.1:{server.server_port}/", images, "web")
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
