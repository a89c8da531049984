"""The page of the server for everyone: keyboard, screen reader, phone, dark rooms, other scripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from served_page import COLORS, Visit, choose, png, serving, upload, verdict

pytestmark = pytest.mark.slow

WIDTHS = (1280, 390, 320)
NAMES = (
    "白鹭",
    "Ursus arctos horribilis, the one with a very long name that no column has room for",
    "קיפוד מצוי",
)
SCORES = {"accuracy": 0.7619, "accuracy_interval": [0.7535, 0.7701], "n": 10_000}
TARGET_PIXELS = 44


@pytest.fixture(scope="module")
def named(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose classes have names in other scripts, and a long one, as long as green."""
    place, metrics = tmp_path_factory.mktemp("served"), {"test_openings": 1, "test": SCORES}
    with serving(place, class_names=NAMES, metrics=metrics) as address:
        yield address


def fill(page: Any) -> None:
    """Brings everything onto the page that can stand there at once."""
    choose(page, "red", "green", "grey", "blue", "red", "blue", "green")
    page.set_input_files(
        "#files", [upload("a" * 80 + ".png", png(COLORS["green"])), upload("b" * 80 + ".png", b"?")]
    )
    page.locator(".problem").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS[:2])
def test_no_axe_violation(visit: Visit, axe_violations: Any, scheme: str, width: int) -> None:
    page = visit(width=width, color_scheme=scheme, permissions=["camera"], foreseen="Failed to load")
    assert axe_violations(page) == []
    choose(page, "grey")
    assert verdict(page) == "Not sure"
    assert axe_violations(page) == []
    fill(page)
    assert axe_violations(page) == []
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").wait_for()
    assert axe_violations(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(visit: Visit, named: str, width: int) -> None:
    page = visit(named, width=width, foreseen="Failed to load", permissions=["camera"])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    fill(page)
    assert verdict(page) == NAMES[1]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_names_in_other_scripts_stand_as_they_are(visit: Visit, named: str, chinese_font: None) -> None:
    page = visit(named, width=390)
    facts = "3 classes · 8 × 8 pixels · test accuracy 76.19\u00a0% (95 % interval 75.35–77.01 %, n = 10,000)"
    assert page.locator("#facts").inner_text() == facts
    assert tuple(page.locator("#classes li").all_inner_texts()) == NAMES
    choose(page, "blue")
    assert verdict(page) == NAMES[0]
    session = page.context.new_cdp_session(page)
    for call in ("DOM.enable", "CSS.enable"):
        session.send(call)
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    for selector in ("#verdict .value bdi", ".bars .first bdi", "#strip bdi", "#classes li:first-child bdi"):
        node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        assert sum(font["glyphCount"] for font in fonts) == 2
        assert all("CJK" in font["familyName"] or "Hei" in font["familyName"] for font in fonts), fonts
    choose(page, "green")
    headline = page.locator("#verdict .value")
    assert headline.bounding_box()["width"] <= 358
    assert headline.evaluate("(one) => parseFloat(getComputedStyle(one).fontSize)") < 32


def test_a_finger_hits_everything(visit: Visit) -> None:
    page = visit(width=390, has_touch=True, is_mobile=True, permissions=["camera"], foreseen="Failed to load")
    assert page.get_by_text("Tap to choose images").is_visible()
    assert not page.get_by_text("Drop images here").is_visible()
    page.get_by_role("button", name="Use the camera").tap()
    page.get_by_role("button", name="Take a picture").tap()
    page.locator("#strip label").wait_for()
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("button, .button, .check, summary, #strip label, #threshold")]
            .filter((one) => one.checkVisibility())
            .map((one) => [one.textContent, one.getBoundingClientRect()])
            .map(([name, box]) => [name.trim(), Math.round(box.width), Math.round(box.height)])"""
    )
    assert len(sizes) >= 9
    assert [size for size in sizes if min(size[1:]) < TARGET_PIXELS] == []


def test_by_keyboard_alone(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    assert focused(page, "Tab") == "Skip to your image"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "image"
    assert focused(page, "Tab") == "Choose images"
    paths = []
    for name in ("red", "green", "grey"):
        paths.append(tmp_path / f"{name}.png")
        paths[-1].write_bytes(png(COLORS[name]))
    with page.expect_file_chooser() as chooser:
        page.wait_for_timeout(100)  # until the browser has been told to hand it over
        page.keyboard.press("Enter")
    chooser.value.set_files(paths)
    page.get_by_text("3 of 3 images answered").wait_for()
    assert verdict(page) == "Not sure"
    assert focused(page, "Tab") == "Use the camera"
    assert focused(page, "Tab") == "Not sure below"
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    assert verdict(page) == "green"
    assert focused(page, "Tab") == "Forget all"
    assert focused(page, "Tab").endswith("grey.png")
    assert focused(page, "ArrowRight").endswith("green.png")
    assert page.locator("#photo").get_attribute("alt") == "green.png"
    assert focused(page, "ArrowRight").endswith("red.png")
    assert verdict(page) == "red"
    assert focused(page, "Tab") == "What it can say: 3 classes"
    page.keyboard.press("Enter")
    assert not page.locator("#classes").is_visible()
    assert focused(page, "Tab") == "Ask it from a program"


def test_a_screen_reader_is_told(visit: Visit) -> None:
    page = visit()
    choose(page, "grey")
    assert page.get_by_role("status").inner_text().startswith("grey.png: not sure; most likely green, 4")
    assert [one.inner_text() for one in page.get_by_role("heading", level=1).all()] == ["colors"]
    headings = ["Your image", "Answer", "Images so far", "The model"]
    assert page.get_by_role("heading", level=2).all_inner_texts() == headings
    for name in headings:
        assert page.get_by_role("region", name=name).is_visible()
    rows = page.get_by_role("list", name="The likeliest classes").get_by_role("listitem").all_inner_texts()
    assert len(rows) == 3
    assert all(row.endswith("%") for row in rows)
    assert page.get_by_role("img", name="grey.png as the model sees it").is_visible()
    group = page.get_by_role("group", name="Images so far, the newest first")
    assert group.get_by_role("radio").count() == 1
    page.get_by_role("slider", name="Not sure below").fill("20")
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "20 %"
    choose(page, "red")
    page.get_by_role("radio", name="grey.png").check()
    assert page.get_by_role("status").inner_text().startswith("grey.png: green, 4")
    choose(page, "red", "blue")
    assert page.get_by_role("status").inner_text().startswith("2 of 2 images answered\nblue.png: blue, 9")


def test_light_and_dark_by_system_and_by_button(visit: Visit) -> None:
    def paper(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = (visit(color_scheme=scheme) for scheme in ("light", "dark"))
    papers = paper(light), paper(dark)
    assert papers[0] != papers[1]
    light.get_by_role("button", name="Dark").click()
    assert paper(light) == papers[1]
    light.reload()
    light.get_by_role("button", name="Light").click()
    assert paper(light) == papers[0]


def test_the_page_has_a_policy_and_keeps_to_it(visit: Visit, service: str) -> None:
    page = visit(foreseen="Content Security Policy")
    policy = page.request.get(service).headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy
    page.evaluate(
        "document.body.append("
        "Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    )
    assert page.evaluate("window.ran") is None
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)"
    )
    assert {"/static/page.css", "/static/page.js", "/model"} <= set(loaded)


def test_a_proxy_may_put_it_below_a_path(open_page: Any, service: str) -> None:
    def proxy(route: Any) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/cats/", "/")))

    page, asked = open_page("about:blank", foreseen=""), []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/cats/**", proxy)
    page.goto(f"{service}/cats/")
    page.locator("#model").wait_for()
    choose(page, "red")
    assert verdict(page) == "red"
    assert all(url.startswith((f"{service}/cats/", "blob:", "data:")) for url in asked)
    assert f"{service}/cats/predict" in page.locator("#curl").text_content()


def test_without_scripts_it_says_what_to_do(open_page: Any, service: str) -> None:
    page = open_page(service, java_script_enabled=False)
    assert "needs JavaScript" in page.locator("main").inner_text()


def focused(page: Any, key: str) -> str:
    """Presses a key and returns the name of what has the focus then, which must be to be seen."""
    page.keyboard.press(key)
    name, outline = page.evaluate(
        """() => {
            const one = document.activeElement, box = one.closest("label") ?? one;
            const name = one.ariaLabel ?? (one.labels?.[0] ?? one).textContent;
            return [name.trim(), getComputedStyle(box).outlineStyle];
        }"""
    )
    assert outline == "solid", name
    return str(name)
