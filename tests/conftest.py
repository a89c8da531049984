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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first, of those the ones with the most tests; the rest fills the end.

    Workers take whole files, in this order: with a long one at the end the others would wait for it.
    """
    of_file: dict[Path, list[pytest.Item]] = {}
    for item in items:
        of_file.setdefault(item.path, []).append(item)

    def place(tests: list[pytest.Item]) -> tuple[bool, int]:
        return all(test.get_closest_marker("slow") is None for test in tests), -len(tests)

    items[:] = [test for tests in sorted(of_file.values(), key=place) for test in tests]


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    """Lets what is timed answer once a round: the seconds are real, and no test here needs many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pictorch.exporting.speed.ROUND_SECONDS", 0)
        patch.setattr("pictorch.benchmarking.latency._ROUND_SECONDS", 0)
        yield


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session and all its workers: CIFAR-10 is decoded and kernels are built once."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("cache")
    home = tmp_path_factory.getbasetemp().with_name("cache")
    home.mkdir(exist_ok=True)
    return home


@pytest.fixture(scope="session", autouse=True)
def own_cache(cache_home: Path) -> Iterator[None]:
    """Holds for what a whole file or session shares too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_home))
        patch.setenv("PICTORCH_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
