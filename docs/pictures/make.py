"""Remakes the pictures of the report: a short run on handwritten digits, photographed in Chromium.

    python docs/pictures/make.py

It needs the [dev] extra and /usr/bin/chromium, and takes about half a minute.
"""

import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import pictorch

HERE = Path(__file__).parent
SIZES = {1280: 1600, 390: 1900}


def main() -> None:
    """Trains few enough epochs that there are mistakes to be seen, and writes four PNG files."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        changes = ["train.epochs=25", "train.threads=1", "optimizer.lr=0.01", "model.name=simple_net"]
        run = pictorch.train("digits", set=changes, out="runs/digits-001").run
        for split in ("val", "test"):
            pictorch.evaluate(run, split=split)
        address = pictorch.report(run).resolve().as_uri()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            for width, height in SIZES.items():
                for scheme in ("light", "dark"):
                    size = {"width": width, "height": height}
                    page = browser.new_page(viewport=size, color_scheme=scheme)
                    page.goto(address)
                    picture = Image.open(io.BytesIO(page.screenshot()))
                    small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
                    small.save(HERE / f"report-{width}-{scheme}.png", optimize=True)


if __name__ == "__main__":
    main()
