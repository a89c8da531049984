"""The material is made once; every case has a folder of its own for each door."""

from pathlib import Path

import pytest

from messages import material


@pytest.fixture(scope="session", autouse=True)
def material_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    material.HOME = tmp_path_factory.mktemp("material")
    return material.HOME


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")  # below the case's own folder
