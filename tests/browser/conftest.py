"""Pages in a headless Chromium: opened here, and closed only when they had nothing to complain about."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from served_page import Visit, serving

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--no-sandbox"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--use-fake-device-for-media-stream"]  # a camera, for pages that are allowed one

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

    When the test ends, no page may have written to its console, thrown, or asked for what is not there or
    lies elsewhere; but for complaints with the words that the test foresaw. `script` runs before the page.
    """
    contexts, complaints = [], []

    def open_one(
        place: str | Path,
        *,
        width: int = 1280,
        height: int = 900,
        foreseen: str | None = None,
        script: str = "",
        **options: Any,
    ) -> Any:
        address = place.resolve().as_uri() if isinstance(place, Path) else place

        origin = "/".join(address.split("/", 3)[:3])

        def is_near(url: str) -> bool:
            return url.startswith((address, f"blob:{origin}", "data:"))

        def complain(words: str) -> None:
            if foreseen is None or foreseen not in words:
                complaints.append(words)

        def failed(words: str) -> None:
            if not words.startswith("net::ERR_ABORTED: blob:"):  # a picture that another replaced meanwhile
                complain(words)

        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        page.on("console", lambda message: complain(message.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("requestfailed", lambda request: failed(f"{request.failure}: {request.url}"))
        page.on("request", lambda request: is_near(request.url) or complain(f"elsewhere: {request.url}"))
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def service(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that tells colours apart."""
    with serving(tmp_path_factory.mktemp("served")) as address:
        yield address


@pytest.fixture
def visit(open_page: OpenPage, service: str) -> Visit:
    """Returns a function that opens the server's page, with the options of open_page."""

    def visit_one(address: str = service, **options: Any) -> Any:
        page = open_page(address, **options)
        page.locator("#model").wait_for()
        return page

    return visit_one


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
