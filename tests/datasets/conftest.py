"""Every test here has a cache of its own, finds no data by name, and reaches no network."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("PICTORCH_OFFLINE", "1")
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    monkeypatch.chdir(home)
    return home
