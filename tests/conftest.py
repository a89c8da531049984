"""What every test starts from: a folder of its own, a cache of its own, no network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Waiting threads sleep, so that tests do not slow each other down on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def no_waiting() -> Iterator[None]:
    """Faults and kills happen to the process, not to the power: nothing has to reach the platter.

    Programs that tests start do wait for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session, so that CIFAR-10 is decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("PICTORCH_OFFLINE", "1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder in which nothing but the test writes."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def cifar10_home() -> Path:
    """The folder that holds real CIFAR-10; skips where PICTORCH_DATA names none."""
    home = os.environ.get("PICTORCH_DATA")
    if home is None:
        pytest.skip("no data: PICTORCH_DATA does not name a folder with CIFAR-10")
    return Path(home)
