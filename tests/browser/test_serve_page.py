"""Images and answers on the page of the server: chosen, dropped, pasted, gone back to, not sure."""

import io
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pictorch.images import decode_image
from served_page import COLORS, Visit, bars, choose, png, upload, verdict
from tiny_bundle import SIZE

pytestmark = pytest.mark.slow


def test_a_chosen_image_is_answered(visit: Visit) -> None:
    page = visit()
    assert page.title() == "colors · pictorch serve"
    assert page.locator("#facts").inner_text() == "3 classes · 8 × 8 pixels"
    choose(page, "green")
    assert verdict(page) == "green"
    shares = bars(page)
    assert [shares[0][0], len(shares)] == ["green", 3]
    assert shares[0][1] > 95 > shares[1][1]
    assert sum(share for _, share in shares) == pytest.approx(100, abs=0.2)
    widths = [box.bounding_box()["width"] for box in page.locator(".bars .fill").all()]
    full = page.locator(".bars .scale").first.bounding_box()["width"]
    assert [100 * width / full for width in widths] == pytest.approx([share for _, share in shares], abs=0.2)
    assert page.locator("#verdict .note").inner_text().endswith("ms from sending to answer")
    assert page.locator("#photo").evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [40, 30]
    assert page.get_by_role("status").inner_text() == f"green.png: green, {shares[0][1]}\u00a0%"


def test_the_second_picture_is_what_the_model_is_given(visit: Visit) -> None:
    page = visit()
    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    page.set_input_files("#files", [upload("noise.png", data.getvalue())])
    page.locator("#seen").wait_for()
    shown = b64decode(page.locator("#seen").get_attribute("src").partition("base64,")[2])
    expected = decode_image(data.getvalue(), SIZE)
    assert (np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")) == expected).all()
    assert page.locator("#seen").evaluate("(one) => getComputedStyle(one).imageRendering") == "pixelated"


def test_the_part_that_the_model_is_given_is_marked(visit: Visit) -> None:
    page = visit()
    for width, height in ((80, 40), (30, 90), (50, 50)):
        page.set_input_files("#files", [upload(f"{width}.png", png((255, 0, 0), width, height))])
        page.get_by_role("img", name=f"{width}.png", exact=True).wait_for()
        page.wait_for_timeout(200)  # until the browser has decoded it
        whole, cut = page.locator(".whole").evaluate(
            "(one) => [getComputedStyle(one), getComputedStyle(one, '::after')]"
            ".map((style) => [parseFloat(style.width), parseFloat(style.height)])"
        )
        assert whole[0] / whole[1] == pytest.approx(width / height, rel=0.01)
        assert cut == pytest.approx([min(whole)] * 2, abs=0.5)


def test_earlier_images_are_gone_back_to(visit: Visit) -> None:
    page = visit()
    choose(page, "red", "green", "blue")
    assert page.locator("#strip bdi").all_inner_texts() == ["blue", "green", "red"]
    assert verdict(page) == "blue"
    page.get_by_role("radio", name="red.png").check()
    assert verdict(page) == "red"
    assert page.locator("#photo").get_attribute("alt") == "red.png"
    choose(page, "green")
    assert verdict(page) == "green"
    page.get_by_role("button", name="Forget all").click()
    assert not page.locator("#earlier").is_visible()
    assert page.locator("#invitation").is_visible()
    page.reload()
    page.locator("#model").wait_for()
    assert page.locator("#strip label").count() == 0


def test_an_answer_that_comes_late_takes_nothing_away(visit: Visit) -> None:
    page = visit()
    choose(page, "red", "blue")
    held: list[Any] = []
    page.route("**/predict*", lambda route: held.append(route))
    page.set_input_files("#files", [upload("green.png", png(COLORS["green"]))])
    page.get_by_role("radio", name="red.png").check()
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.get_by_role("radio", name="green.png").wait_for(state="attached")
    assert verdict(page) == "red"
    assert page.get_by_role("radio", checked=True).locator("..").inner_text().startswith("red")


def test_no_more_than_sixty_are_kept(visit: Visit) -> None:
    page = visit()
    files = [upload(f"{number}.png", png((0, 0, 255), 8, 8)) for number in range(70)]
    page.set_input_files("#files", files)
    page.get_by_text("70 of 70 images answered").wait_for()
    names = page.locator("#strip .unseen").all_inner_texts()
    assert [name.strip() for name in names] == [f"{number}.png" for number in range(69, 9, -1)]


def test_an_image_is_dropped(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    for name, color in (("red", COLORS["red"]), ("green", COLORS["green"])):
        (tmp_path / f"{name}.png").write_bytes(png(color))
    paths = [str(tmp_path / "red.png"), str(tmp_path / "green.png")]
    drag(page, paths, "dragEnter", "dragOver")
    assert "Drop the images" in page.evaluate("getComputedStyle(document.body, '::after').content")
    drag(page, paths, "drop")
    page.get_by_text("2 of 2 images answered").wait_for()
    assert verdict(page) == "green"
    assert "none" in page.evaluate("getComputedStyle(document.body, '::after').content")


def test_a_dropped_folder_or_text_is_explained(visit: Visit, tmp_path: Path) -> None:
    page = visit(foreseen="ERR_")
    drag(page, [str(tmp_path)], "dragEnter", "dragOver", "drop")
    page.get_by_role("alert").get_by_text("If it is a folder").wait_for()
    drag(page, [], "dragEnter", "dragOver", "drop")
    assert page.get_by_role("alert").inner_text().startswith("What you dropped is not a file.")


def test_an_image_is_pasted(visit: Visit, service: str) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (data) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const item = new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) });
            await navigator.clipboard.write([item]);
        }""",
        b64encode(png(COLORS["blue"])).decode(),
    )
    page.keyboard.press("Control+V")
    page.locator("#strip label").wait_for()
    assert verdict(page) == "blue"
    page.evaluate("navigator.clipboard.writeText('blue')")
    page.keyboard.press("Control+V")
    page.get_by_role("alert").get_by_text("There is no image on the clipboard").wait_for()
    assert page.locator("#strip label").count() == 1


def test_not_sure_below_the_threshold(visit: Visit) -> None:
    page = visit()
    slider = page.get_by_role("slider", name="Not sure below")
    assert slider.get_attribute("aria-valuetext") == "50 %"
    choose(page, "green", "grey")
    share = bars(page)[0][1]
    assert 30 < share < 50
    assert verdict(page) == "Not sure"
    assert f"Most likely green, with {share}\u00a0%" in page.locator("#verdict").inner_text()
    assert page.get_by_role("radio", name="grey.png").locator("..").inner_text().split("\n")[:2] == [
        "green",
        "not sure",
    ]
    slider.fill(str(int(share)))
    assert verdict(page) == "green"
    assert "not sure" not in page.locator("#strip").inner_text()
    page.reload()
    assert slider.input_value() == str(int(share))
    choose(page, "grey")
    assert verdict(page) == "green"
    slider.fill("100")
    assert verdict(page) == "Not sure"


def test_without_storage_everything_but_the_memory_works(visit: Visit) -> None:
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } })"
    page = visit(script=refuse)
    page.get_by_role("slider").fill("20")
    page.get_by_role("button", name="Dark").click()
    choose(page, "grey")
    assert verdict(page) == "green"


def drag(page: Any, paths: list[str], *steps: str) -> None:
    """Moves files over the page as the system would."""
    session = page.context.new_cdp_session(page)
    items = [] if paths else [{"mimeType": "text/plain", "data": "https://example.org/cat.png"}]
    data = {"items": items, "files": paths, "dragOperationsMask": 1}
    send: Callable[..., Any] = session.send
    for step in steps:
        send("Input.dispatchDragEvent", {"type": step, "x": 300, "y": 300, "data": data})
