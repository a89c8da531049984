"""What the page that runs the model in the browser says when something is wrong."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from served_page import COLORS, choose, png, upload, verdict
from web_page import answers, image_bytes, static_site, web_form

pytestmark = pytest.mark.slow

AGAIN = "Export it again with `pictorch export --to web` and copy the whole folder."


@pytest.fixture(scope="module")
def colors(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with static_site(web_form(tmp_path_factory.mktemp("colors"))) as address:
        yield address


def told(page: Any) -> str:
    """Returns what the page says is wrong, once it says so."""
    page.locator(".problem").wait_for()
    return str(page.locator(".problem").inner_text())


def test_a_browser_without_simd_is_told(open_page: Any, colors: str) -> None:
    page = open_page(colors, script="WebAssembly.validate = () => false")
    assert told(page).startswith("This browser lacks WebAssembly SIMD")
    assert page.locator("#facts").inner_text() == ""
    page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
    page.get_by_role("alert").get_by_text("red.png This browser lacks WebAssembly SIMD").wait_for()
    assert page.locator("#strip label").count() == 0


def test_this_browser_has_simd(open_page: Any, colors: str) -> None:
    """So the test above sees the refusal of one that has not, and not of every browser."""
    page = open_page(colors)
    page.locator("#model").wait_for()
    assert page.locator(".problem").count() == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def other_answers(path: Path) -> None:
    """Makes the first golden sample expect the opposite."""
    data = path.read_bytes()
    path.write_bytes(np.frombuffer(data, "<f4", 3)[::-1].tobytes() + data[12:])


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("model.onnx", Path.unlink, "model.onnx is not where this page lies (code 404)."),
        ("model.onnx", cut, "The model cannot be opened ("),
        ("model.json", cut, "model.json is damaged."),
        ("golden.bin", shorten, "golden.bin is damaged."),
        ("golden.bin", other_answers, "The model gives other answers here than where it was made (largest"),
        ("runtime/ort.wasm", cut, "The model cannot be opened ("),
    ],
)
def test_a_part_that_is_missing_or_broken(
    open_page: Any, browser: Any, tmp_path: Path, name: str, harm: Callable[[Path], None], words: str
) -> None:
    folder = web_form(tmp_path)
    harm(folder / name)
    with static_site(folder) as address:
        page = open_page(address, foreseen="")
        assert told(page).startswith(words)
        assert told(page).endswith(AGAIN)
        page.set_input_files("#files", [upload("red.png", png(COLORS["red"]))])
        page.get_by_role("alert").get_by_text("red.png").wait_for()
        assert page.locator("#strip label").count() == 0
        assert page.locator("#kept").inner_text() == ""


@pytest.mark.parametrize("path", ["model.onnx", "runtime/ort.js"])
def test_what_did_not_arrive_is_asked_for_again(open_page: Any, colors: str, path: str) -> None:
    page = open_page("about:blank", foreseen="")
    page.context.route(f"**/{path}", lambda route: route.abort())
    page.goto(colors)
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    assert "See that you are connected, then try again." in told(page)
    page.context.unroute(f"**/{path}")
    again.click()
    page.locator("#model").wait_for()
    choose(page, "red")
    assert verdict(page) == "red"


def header_only(width: int, height: int) -> bytes:
    """Returns a PNG whose header promises that many pixels."""
    body = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = b"".join(
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one))
        for one in (body, data, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_files_that_are_refused_and_why(open_page: Any, colors: str) -> None:
    page = open_page(colors)
    page.locator("#model").wait_for()
    square = Image.new("RGB", (40, 40), "red")
    one_of = "use one of JPEG, PNG, WEBP, GIF, BMP."
    expected = {
        image_bytes(square, "TIFF"): f"It is a TIFF, which browsers do not give to this page; {one_of}",
        image_bytes(square, "PPM"): f"It is a PPM, which browsers do not give to this page; {one_of}",
        b"\0\0\0\x18ftypheic" + bytes(40): "It is an AVIF, HEIC or MP4 file, which browsers do not give",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>": "It is an SVG drawing, which browsers do not give",
        b"<!DOCTYPE html><p>404": "It is an HTML page, which",
        b"buy milk": f"It is not an image; {one_of}",
        b"": "The file is empty; copy it again.",
        b"\x89PNG\r\n\x1a\n" + bytes(60): "It is a damaged or truncated PNG; copy it again.",
        b"\xff\xd8\xff\xe0" + bytes(60): "It is a damaged or truncated JPEG; copy it again.",
        header_only(9000, 8000): "It has 9,000 × 8,000 pixels; make it smaller, to 50 megapixels and 16,384",
        header_only(20_000, 10): "It has 20,000 × 10 pixels; make it smaller",
    }
    found = answers(page, *expected)
    for answer, words in zip(found, expected.values(), strict=True):
        assert answer["problem"].startswith(words), answer
    assert answers(page, image_bytes(square))[0]["top"][0]["class"] == "red"


def test_a_file_of_too_many_bytes(open_page: Any, colors: str, tmp_path: Path) -> None:
    page = open_page(colors)
    with (tmp_path / "huge.png").open("wb") as file:
        file.write(png(COLORS["red"]))
        file.truncate(51_000_000)
    page.set_input_files("#files", tmp_path / "huge.png")
    page.get_by_role("alert").get_by_text("It is too large (51\u00a0MB of at most 50\u00a0MB).").wait_for()


def test_a_folder_is_explained_and_one_bad_file_spoils_no_other(
    open_page: Any, colors: str, tmp_path: Path
) -> None:
    page = open_page(colors)
    page.locator("#model").wait_for()
    files = [upload("notes.png", b"buy milk"), upload("red.png", png(COLORS["red"]))]
    page.set_input_files("#files", files)
    page.get_by_text("1 of 2 images answered").wait_for()
    assert verdict(page) == "red"
    assert page.locator(".problem").all_inner_texts() == [
        "notes.png It is not an image; use one of JPEG, PNG, WEBP, GIF, BMP."
    ]


def test_without_scripts_and_as_a_file_it_says_what_to_do(
    open_page: Any, colors: str, tmp_path: Path
) -> None:
    page = open_page(colors, java_script_enabled=False)
    assert "needs JavaScript: the model runs in your browser" in page.locator("main").inner_text()
    page = open_page(web_form(tmp_path) / "index.html", foreseen="")
    assert "python3 -m http.server" in page.locator("#facts").inner_text()
