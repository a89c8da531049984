"""The page of `pictorch serve`: a real server in its own process, and a page that watches itself."""

import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Visit = Callable[..., Any]
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (100, 110, 100)}


@contextmanager
def serving(bundle: Path, port: int = 0) -> Iterator[str]:
    """Runs the command on a bundle; gives the address once it answers, and ends it."""
    if port == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [sys.executable, "-m", "pictorch", "serve", str(bundle), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ})
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/v2/health/ready").close()
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


def png(color: tuple[int, int, int], width: int = 40, height: int = 30) -> bytes:
    """Returns a picture of one colour, whose left edge is white."""
    pixels = np.full((height, width, 3), color, np.uint8)
    pixels[:, 0] = 255
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def upload(name: str, data: bytes, kind: str = "image/png") -> dict[str, Any]:
    """Returns a file as Playwright gives it to an input."""
    return {"name": name, "mimeType": kind, "buffer": data}


def choose(page: Any, *names: str) -> None:
    """Chooses pictures named by colour, and waits for the answers."""
    before = page.locator("#strip label").count()
    page.set_input_files("#files", [upload(f"{name}.png", png(COLORS[name])) for name in names])
    page.locator("#strip label").nth(before + len(names) - 1).wait_for(state="attached")
    page.get_by_role("radio", name=f"{names[-1]}.png", checked=True).wait_for(state="attached")


def verdict(page: Any) -> str:
    """Returns the headline of the answer."""
    return str(page.locator("#verdict .value").inner_text())


def bars(page: Any) -> list[tuple[str, float]]:
    """Returns class and percentage of each bar."""
    texts = page.locator(".bars li").all_inner_texts()
    return [(name, float(re.sub(r"[^\d.]", "", share))) for name, share in (t.split("\n") for t in texts)]
