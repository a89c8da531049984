"""A bundle of three colours, and the application that answers from it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import pictorch
from pictorch.predictor import Predictor
from pictorch.serving.app import create_app
from tiny_bundle import color_image, make_bundle


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("served") / "colors").path


@pytest.fixture(scope="session")
def predictor(colors: Path) -> Predictor:
    return pictorch.load(colors, threads=1)


@pytest.fixture
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def green() -> bytes:
    """A PNG of 40 x 30 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(color_image("green", 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()
