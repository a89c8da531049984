"""What the tests of the served page do: serve it, give it pictures, read its answers."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pictorch.benchmarking.served import served
from tiny_bundle import make_bundle

Visit = Callable[..., Any]
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (100, 110, 100)}


@contextmanager
def serving(place: Path, **changes: Any) -> Iterator[str]:
    """Serves a bundle of three colours, changed, from a process of its own; gives the address."""
    with served(make_bundle(place / "colors", **changes).path, place / "log", max_in_flight=64) as server:
        yield f"http://127.0.0.1:{server.port}"


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
