"""The material is made once; every case has a folder of its own for each door."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from messages import case, material
from pictorch import cli
from pictorch.cli import parser


@pytest.fixture(scope="session", autouse=True)
def material_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    material.HOME = tmp_path_factory.mktemp("material")
    return material.HOME


@pytest.fixture(scope="session", autouse=True)
def one_parser() -> Iterator[None]:
    """Builds the parser of the command line once, not for each of a thousand commands."""
    with pytest.MonkeyPatch.context() as patch:
        built = cache(parser.build_parser)
        for module in (cli, case):
            patch.setattr(module, "build_parser", built)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_made_images() -> Iterator[None]:
    """Some forty imports succeed after a remedy; what a thousand images show is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pictorch.importing.imported.FEWEST_IMAGES", 60)
        yield


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")  # below the case's own folder
