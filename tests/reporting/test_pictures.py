"""Pictures inside the page: small ones exact, large ones small enough."""

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from parsed_page import MakeRun, read
from pictorch.reporting.pictures import data_uri, matrix_picture


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(uri.partition("base64,")[2])))


def test_a_small_picture_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    uri = data_uri(pixels)
    assert uri.startswith("data:image/png;base64,")
    assert (np.asarray(decoded(uri)) == pixels).all()


def test_a_large_picture_is_shrunk() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3)).astype(np.uint8)
    uri = data_uri(pixels)
    assert uri.startswith("data:image/jpeg;base64,")
    assert decoded(uri).size == (160, 80)
    assert len(uri) < 40_000


def test_a_matrix_picture_is_blue_where_right_and_orange_where_wrong() -> None:
    html = matrix_picture([[4, 0, 0], [0, 2, 2], [0, 0, 0]])
    start = html.index("data:image")
    pixels = np.asarray(decoded(html[start : html.index('"', start)]).convert("RGB")).astype(int)
    assert pixels.shape == (3, 3, 3)
    assert pixels[0, 0].tolist() == [32, 80, 200]
    assert pixels[1, 2].tolist() == [196, 78, 20]
    assert pixels[2].tolist() == [[255] * 3] * 3


@pytest.mark.parametrize("overrides", [(), ("augment.mixup=0.2",), ("augment.cutmix=1.0",)])
def test_samples_are_said_to_be_those_before_mixing(make_run: MakeRun, overrides: tuple[str, ...]) -> None:
    text = read(make_run(overrides=overrides)).text
    later = ", before it is mixed with another image" if overrides else ""
    assert f"right as training sees it once, with the recipe's augmentation{later}." in text
