"""The page that runs the model in the browser: its answers are those of the predictor in Python."""

import io
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import pictorch
from pictorch.images import Fit, InputSpec, decode_image, fit_pixels
from pictorch.predictor import Predictor
from served_page import COLORS, bars, choose, png, upload, verdict
from tiny_bundle import SIZE, color_bundle, color_photos
from web_page import answers, image_bytes, needs_runtime, static_site, web_form

pytestmark = pytest.mark.slow

FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
LOSSY = 0.01  # of a probability, where browser and Pillow decode a JPEG each in its own way


@pytest.fixture(scope="module")
def digits(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Predictor]]:
    """The page of a network that was trained on handwritten digits, and its predictor."""
    needs_runtime()
    place = tmp_path_factory.mktemp("digits")
    changes = ["train.epochs=3", "train.threads=1", "model.name=simple_net"]
    run = pictorch.train("digits", set=changes, out=place / "run").run
    bundle = Path(pictorch.export(run, out=place / "bundle").path)
    with static_site(web_form(place, bundle)) as address:
        yield address, pictorch.load(bundle)


def met(open_page: Any, address: str, **options: Any) -> Any:
    page = open_page(address, **options)
    page.locator("#model").wait_for()
    return page


@pytest.fixture
def ask(digits: tuple[str, Predictor], open_page: Any) -> Any:
    """Returns a function that asks page and predictor about files: [(top in the page, top in Python)]."""
    address, predictor = digits
    page = met(open_page, address)

    def asked(*files: bytes) -> list[tuple[dict[str, float], dict[str, float]]]:
        found = [
            {one["class"]: one["probability"] for one in answer["top"]} for answer in answers(page, *files)
        ]
        return list(zip(found, [dict(each.classes) for each in predictor(files)], strict=True))

    return asked


def test_the_golden_samples_are_answered_as_in_python(digits: tuple[str, Predictor], ask: Any) -> None:
    images, _ = digits[1].bundle.golden()
    for found, expected in ask(*map(image_bytes, images)):
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_thousand_images_are_answered_as_in_python(digits: tuple[str, Predictor], ask: Any) -> None:
    images, _ = digits[1].bundle.golden()
    draws = np.random.default_rng(0)
    mixed = [
        (0.7 * images[draws.integers(len(images))] + 0.3 * images[draws.integers(len(images))]).astype(
            np.uint8
        )
        for _ in range(1000)
    ]
    for found, expected in ask(*map(image_bytes, mixed)):
        assert next(iter(found)) == next(iter(expected))
        assert found == pytest.approx(expected, abs=1e-4)


def photograph(digits: tuple[str, Predictor], number: int = 3) -> Image.Image:
    """Returns a golden digit as a camera may see it: 1,200 x 900 pixels, coloured, soft, with noise."""
    digit = Image.fromarray(digits[1].bundle.golden()[0][number]).resize((900, 900), Image.Resampling.BICUBIC)
    scene = Image.new("RGB", (1200, 900), (20, 30, 25))
    scene.paste(digit.filter(ImageFilter.GaussianBlur(12)), (150, 0))
    noise = np.random.default_rng(1).normal(0, 6, (900, 1200, 3))
    return Image.fromarray(np.clip(np.asarray(scene) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_that_its_exif_turns(digits: tuple[str, Predictor], ask: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = image_bytes(photograph(digits), "JPEG", quality=85, exif=exif)
    ((found, expected),) = ask(photo)
    assert next(iter(found)) == next(iter(expected))
    assert found == pytest.approx(expected, abs=LOSSY)


def test_palettes_transparency_grey_and_other_formats(digits: tuple[str, Predictor], ask: Any) -> None:
    photo = photograph(digits)
    small = photo.resize((120, 90))
    cut_out = small.convert("RGBA")
    cut_out.putalpha(Image.linear_gradient("L").resize(small.size))
    palette = small.quantize(32)
    files = [
        image_bytes(palette),
        image_bytes(palette, transparency=3),
        image_bytes(palette, "GIF", transparency=5),
        image_bytes(cut_out),
        image_bytes(small.convert("LA")),
        image_bytes(small.convert("L")),
        image_bytes(small.convert("1")),
        image_bytes(small, "BMP"),
        image_bytes(small, "WEBP", lossless=True),
        image_bytes(small.convert("L"), "JPEG"),
        image_bytes(small.convert("CMYK"), "JPEG"),
        image_bytes(small, "JPEG", progressive=True, subsampling=2),
    ]
    for place, (found, expected) in enumerate(ask(*files)):
        assert next(iter(found)) == next(iter(expected)), place
        assert found == pytest.approx(expected, abs=LOSSY), place


@pytest.mark.parametrize("fit", FITS)
def test_the_model_is_given_what_it_is_given_in_python(
    open_page: Any, browser: Any, tmp_path: Path, fit: Fit
) -> None:
    folder = web_form(tmp_path, input=InputSpec(SIZE, SIZE, fit))
    noise = np.random.default_rng(3)
    with static_site(folder) as address:
        page = met(open_page, address)
        for width, height in ((70, 50), (31, 88), (8, 8), (8, 30), (5, 3), (1300, 900)):
            data = image_bytes(noise.integers(0, 256, (height, width, 3)).astype(np.uint8))
            (answer,) = answers(page, data)
            shown = Image.open(io.BytesIO(b64decode(answer["seen"].partition("base64,")[2])))
            assert (np.asarray(shown.convert("RGB")) == decode_image(data, SIZE, fit=fit)).all(), (
                width,
                height,
            )


def test_the_filter_is_pillows_to_the_bit(open_page: Any, browser: Any, tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    with static_site(web_form(tmp_path)) as address:
        page = met(open_page, address)
        for _ in range(150):
            width, height = (int(side) for side in draws.integers(1, draws.choice([12, 60, 300]), 2))
            size, fit = int(draws.integers(1, draws.choice([9, 40, 120]))), FITS[draws.integers(3)]
            pixels = draws.integers(0, 256, (height, width, 3)).astype(np.uint8)
            if draws.random() < 0.3:
                pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)  # where the filter overshoots
            found = fitted_in_the_page(page, pixels, size, fit)
            assert (found == fit_pixels(pixels, size, fit).pixels).all(), (width, height, size, fit)


def fitted_in_the_page(page: Any, pixels: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
    found = page.evaluate(
        """async ([data, width, height, size, fit]) => {
            const { fitted } = await import("/static/fit.js");
            const every = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const read = (left, top, columns, rows) => {
                const part = [];
                for (let y = top; y < top + rows; y++) {
                    part.push(...every.subarray((y * width + left) * 4, (y * width + left + columns) * 4));
                }
                return part;
            };
            return btoa(String.fromCharCode(...fitted(read, width, height, size, fit)));
        }""",
        [b64encode(rgba.tobytes()).decode(), width, height, size, fit],
    )
    return np.frombuffer(b64decode(found), np.uint8).reshape(size, size, 3)


def test_an_int8_bundle_is_answered_as_in_python(open_page: Any, browser: Any, tmp_path: Path) -> None:
    needs_runtime()
    photos = color_photos(tmp_path / "photos")
    color_bundle(tmp_path / "bundle", photos)
    int8 = Path(pictorch.export(tmp_path / "bundle", to="int8", data=str(photos), out=tmp_path / "int8").path)
    with static_site(web_form(tmp_path, int8)) as address:
        page = met(open_page, address)
        files = [path.read_bytes() for path in sorted(photos.rglob("*.png"))]
        found = answers(page, *files)
    for answer, expected in zip(found, pictorch.load(int8)(files), strict=True):
        assert answer["top"][0]["class"] == expected.name
        assert answer["top"][0]["probability"] == pytest.approx(expected.probability, abs=0.01)


@pytest.fixture(scope="module")
def colors(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of three colours, below a path."""
    folder = web_form(tmp_path_factory.mktemp("colors"))
    with static_site(folder.parent) as address:
        yield f"{address}{folder.name}/"


def test_several_images_are_answered_below_a_path(open_page: Any, colors: str) -> None:
    page = met(open_page, colors)
    assert page.title() == "colors · pictorch"
    assert page.locator("#facts").inner_text() == "3 classes · 8 × 8 pixels"
    assert page.locator("#limit").inner_text() == "Up to 50\u00a0MB and 50 megapixels each"
    assert "no image leaves this device" in page.locator("#privacy").inner_text()
    assert not page.locator("#program").is_visible()
    choose(page, "red", "green", "blue")
    assert verdict(page) == "blue"
    assert len(bars(page)) == 3
    assert page.locator("#strip bdi").all_inner_texts() == ["blue", "green", "red"]
    assert re.fullmatch(r"[\d.,]+\sms on this device", page.locator("#verdict .note").inner_text())
    page.get_by_role("radio", name="red.png").check()
    assert verdict(page) == "red"
    choose(page, "grey")
    assert verdict(page) == "Not sure"


def test_nothing_is_sent(open_page: Any, colors: str) -> None:
    page = met(open_page, colors)
    page.locator("#kept").get_by_text("This device has kept it all").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, "red", "green")
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == []


def test_images_that_are_chosen_before_the_model_is_there(open_page: Any, colors: str) -> None:
    page = open_page(colors)
    page.set_input_files("#files", [upload("green.png", png(COLORS["green"]))])
    page.locator("#strip label").wait_for()
    assert verdict(page) == "green"


def test_a_picture_from_the_camera(open_page: Any, colors: str) -> None:
    page = met(open_page, colors, permissions=["camera"])
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").click()
    page.locator("#strip label").wait_for()
    assert verdict(page) in ("red", "green", "blue", "Not sure")
    page.get_by_label("Answer all the time").check()
    page.wait_for_timeout(800)
    assert page.locator("#strip label").count() == 1
    assert page.locator(".problem").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_axe_violation_and_no_scrolling_sideways(
    open_page: Any, axe_violations: Any, colors: str, scheme: str, width: int
) -> None:
    page = met(open_page, colors, width=width, color_scheme=scheme, bypass_csp=True)
    page.locator("#kept").get_by_text("This device has kept it all").wait_for()
    choose(page, "grey", "red", "green")
    page.set_input_files("#files", [upload("a" * 80 + ".png", b"?")])
    page.locator(".problem").wait_for()
    assert axe_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_page_keeps_to_its_policy(open_page: Any, colors: str) -> None:
    page = met(open_page, colors, foreseen="Content Security Policy")
    assert page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 'refused')") == "refused"
    page.evaluate(
        "document.body.append("
        "Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    )
    assert page.evaluate("window.ran") is None
