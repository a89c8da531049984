"""Remakes the pictures of the served page: a bundle of yours, served, answers images in Chromium.

    python docs/pictures/serve_page.py BUNDLE IMAGE...

The images are chosen in this order, so that the last one is on show; for the dark pictures the other way
round, so that it is the first. It needs the [dev] extra and
/usr/bin/chromium, and takes about ten seconds.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from pictorch.benchmarking.served import served

HERE = Path(__file__).parent
SIZES = {1280: 1000, 390: 1500}


def main(bundle: str, *images: str) -> None:
    """Writes four PNG files."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(bundle), Path(folder, "log"), max_in_flight=64) as server,
    ):
        photograph(f"http://127.0.0.1:{server.port}", images, "serve")


def photograph(address: str, images: tuple[str, ...], name: str) -> None:
    """Writes NAME-WIDTH-SCHEME.png of the page at `address` for two widths, light and dark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        for width, height in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(address)
                page.locator("#model").wait_for()
                page.set_input_files("#files", images if scheme == "light" else images[::-1])
                page.get_by_text(f"{len(images)} of {len(images)} images answered").wait_for()
                page.wait_for_timeout(300)  # until the last picture is decoded
                picture = Image.open(io.BytesIO(page.screenshot()))
                small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                small.save(HERE / f"{name}-{width}-{scheme}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
