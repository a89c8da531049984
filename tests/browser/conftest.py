"""Pages in a headless Chromium: opened here, and closed only when they had nothing to complain about."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--no-sandbox"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once; skips where it or playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing; apt-get install chromium")
    with playwright.sync_playwright() as api:
        chromium = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Returns a function that opens an address or a file; options are those of a browser context.

    When the test ends, no page may have written to its console, thrown, or asked for what is not there.
    """
    contexts, complaints = [], []

    def open_one(place: str | Path, *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.goto(place.resolve().as_uri() if isinstance(place, Path) else place)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def axe_violations() -> Callable[[Any], list[str]]:
    """Returns a function that gives a page's violations of axe-core's rules, a line for each element."""
    if not AXE.exists():
        pytest.skip("no axe-core: npm ci")

    def violations(page: Any) -> list[str]:
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("axe.run()")["violations"]
        return [f"{rule['id']}: {node['html'][:150]}" for rule in found for node in rule["nodes"]]

    return violations


@pytest.fixture
def chinese_font() -> None:
    """Skips where no font on the machine has Chinese glyphs."""
    import subprocess

    if not shutil.which("fc-list"):
        pytest.skip("no fontconfig: apt-get install fontconfig")
    found = subprocess.run(["fc-list", ":lang=zh", "family"], capture_output=True, text=True, check=True)
    if not found.stdout.strip():
        pytest.skip("no Chinese font: apt-get install fonts-noto-cjk")
