"""The browser form of a bundle, in Chromium: its size, the time to a first prediction, and its answers.

Each visit is that of a new browser that has nothing kept, over loopback; an image is chosen as soon as the
page takes one, and the time ends when the answer stands on the screen. The second visit is offline, from what
the first one kept. Then the page's model answers the images that the bundle's forms are compared on, and the
probabilities of its five likeliest classes are set beside the bundle's:

    python benchmarks/web_form.py BUNDLE [--data SOURCE] [--visits 10] [--note TEXT] [--out record.json]

It needs the [dev] extra, `make web-runtime` and /usr/bin/chromium.
"""

import argparse
import gzip
import io
import json
import shlex
import sys
import tempfile
import time
from base64 import b64encode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import mean, median
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import pictorch
from pictorch.benchmarking.record import load_now, record_of
from pictorch.benchmarking.serving import environment
from pictorch.bundle.agreement import compare
from pictorch.datasets.of_bundle import splits_of_bundle
from pictorch.exporting.forms import FormSource

GOALS = {"first_prediction_seconds": 3.0, "gzip_bytes": 15e6, "disk_bytes": 25e6}
ANSWER = """async (files) => {
    const { predict } = await import("/static/answerer.js");
    const bytes = (data) => Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    const uploads = files.map((data, place) => new File([bytes(data)], `${place}.png`));
    const answers = [];
    for await (const { answer } of predict(uploads)) answers.push([answer.top, answer.milliseconds]);
    return answers;
}"""
CHUNK = 100  # images sent to the page at a time


def main() -> None:
    """Exports, measures, and prints and keeps the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", help="where the bundle's images lie")
    parser.add_argument("--visits", type=int, default=10)
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = load_now()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        pictorch.export(args.bundle, to="web", out=site)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            image = golden_files(args.bundle)[0]
            values = [visit(browser, address, image) for _ in range(args.visits)]
            answers = agreement(browser, address, args.bundle, args.data)
            chromium = browser.version
        server.shutdown()
        files = [path.read_bytes() for path in site.rglob("*") if path.is_file()]
    summary = {
        "first_prediction_seconds": median(value["first"] for value in values),
        "first_prediction_offline_seconds": median(value["offline"] for value in values),
        "disk_bytes": sum(map(len, files)),
        "gzip_bytes": sum(len(gzip.compress(data, 6)) for data in files),
        **answers,
    }
    record = record_of(
        "the browser form: size, time to a first prediction, answers",
        shlex.join(["python", "benchmarks/web_form.py", args.bundle.name, *sys.argv[2:]]).split(" --out")[0],
        {**environment(), "chromium": chromium},
        n=args.visits, load_before=load, note=args.note, goals=GOALS, summary=summary, values=values,
    )  # fmt: skip
    print(json.dumps(summary, indent=2))
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


class Quiet(SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, *unused: Any) -> None:
        """Says nothing."""


def visit(browser: Browser, address: str, image: bytes) -> dict[str, float]:
    """Returns the seconds to the first answer of a new visitor, and of the same one offline afterwards."""
    context = browser.new_context()
    page = context.new_page()
    first = first_answer(page, lambda: page.goto(address, wait_until="commit"), image)
    page.locator("#kept").get_by_text("This device has kept it all").wait_for()
    context.set_offline(True)
    offline = first_answer(page, lambda: page.reload(wait_until="commit"), image)
    context.close()
    return {"first": round(first, 3), "offline": round(offline, 3)}


def first_answer(page: Page, opened: Any, image: bytes) -> float:
    """Returns the seconds from asking for the page to the answer on the screen."""
    start = time.perf_counter()
    opened()
    page.locator("#theme").wait_for()  # made by the script that takes images
    page.set_input_files("#files", [{"name": "first.png", "mimeType": "image/png", "buffer": image}])
    page.locator("#strip label").wait_for()
    return time.perf_counter() - start


def agreement(browser: Browser, address: str, bundle: Path, data: str | None) -> dict[str, Any]:
    """Returns how the page's probabilities lie to those of the bundle, and its seconds an image."""
    predictor = pictorch.load(bundle)
    opened = predictor.bundle
    splits = splits_of_bundle(opened, data, print) if data else None
    images = np.concatenate(list(FormSource(opened, print, splits).images()))
    page = browser.new_page()
    page.goto(address)
    page.locator("#model").wait_for()
    answers = []
    for start in range(0, len(images), CHUNK):
        files = [b64encode(png(one)).decode() for one in images[start : start + CHUNK]]
        answers += page.evaluate(ANSWER, files)
    expected = predictor.probabilities(images)
    found = expected.copy()
    for row, (top, _) in zip(found, answers, strict=True):
        for one in top:
            row[opened.class_names.index(one["class"])] = one["probability"]
    agreed = compare(expected, found)
    return {
        "images": agreed.n,
        "validation_images": splits is not None,
        "largest_difference": agreed.largest_difference,
        "top1_differences": agreed.top1_differences,
        "milliseconds_per_image": mean(milliseconds for _, milliseconds in answers),
    }


def golden_files(bundle: Path) -> list[bytes]:
    """Returns the golden samples as PNG files."""
    return [png(one) for one in pictorch.load(bundle).bundle.golden()[0]]


def png(pixels: Any) -> bytes:
    """Returns pixels as a PNG file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


if __name__ == "__main__":
    sys.exit(main())
