"""The build: which compiler, where to, and one clear reason where it cannot be done."""

import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pictorch.kernels import building
from pictorch.kernels.building import Compiler, Unavailable, build, built_path, find_compiler, is_built
from pictorch.kernels.library import Kernels, load, open_kernels

_LAST = "for last; do :; done"  # the name behind -o


def written_compiler(folder: Path, script: str) -> Path:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_named_compiler_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written_compiler(tmp_path, "echo its version 1.2; echo more")
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler() == Compiler(str(path), "its version 1.2")


@pytest.mark.parametrize("script", ["exit 1", "true"])
def test_a_named_compiler_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    path = written_compiler(tmp_path, script)
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler() == Unavailable(f"CXX={path} is no C++ compiler that runs")


def test_no_compiler_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_kernels(may_build=True) == Unavailable("no C++ compiler (c++, g++, clang++)")


def test_the_first_error_of_the_compiler_is_the_reason(tmp_path: Path) -> None:
    path = written_compiler(tmp_path, "echo 'a note' >&2; echo 'x.cpp:3: error: no such thing' >&2; exit 1")
    assert build(Compiler(str(path), "1")) == Unavailable(f"{path} failed: x.cpp:3: error: no such thing")


def test_a_compiler_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_TIME_LIMIT_SECONDS", 0.05)
    path = written_compiler(tmp_path, "exec sleep 60")
    assert build(Compiler(str(path), "1")) == Unavailable(f"{path} failed: not done after 0.05 s")


def test_a_library_that_was_damaged_is_built_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded, one that is cut short would end the process by a signal."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    compiler = Compiler(str(written_compiler(place, f"{_LAST}; echo a library > $last")), "1")
    path = build(compiler)
    assert isinstance(path, Path)
    for damage in (lambda: path.write_bytes(b"a lib"), path.with_suffix(".sha256").unlink, path.unlink):
        assert is_built(path)
        damage()
        assert not is_built(path)
        assert build(compiler) == path
    assert path.read_bytes() == b"a library\n"


@pytest.mark.parametrize("place", ["cache", "temporary"])
def test_a_place_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    compiler = Compiler(str(written_compiler(tmp_path, f"{_LAST}; echo a library > $last")), place)
    if place == "cache":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 300)))
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    refused = build(compiler)
    assert isinstance(refused, Unavailable)
    assert ("x" * 300 if place == "cache" else "nowhere") in refused.reason


def test_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert build(Compiler("c++", "1")) == Unavailable("no kernels are written for the processor vax")


def test_sources_compiler_and_processor_are_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {built_path(Compiler("c++", version)) for version in ("1", "2", "1")}
    monkeypatch.setattr(building, "SOURCES", tmp_path)
    paths.add(built_path(Compiler("c++", "1")))
    monkeypatch.setattr("platform.machine", lambda: "vax")
    paths.add(built_path(Compiler("c++", "1")))
    assert len(paths) == 4


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "winograd.so"
    path.write_bytes(b"no library")
    refused = load(path)
    assert isinstance(refused, Unavailable)
    assert refused.reason.startswith(f"{path} cannot be loaded (")


def test_an_import_neither_compiles_nor_loads() -> None:
    program = (
        "import sys, subprocess, ctypes; subprocess.Popen = ctypes.CDLL = None\n"
        "import pictorch.kernels; assert 'torch' not in sys.modules\n"
        "import pictorch.kernels.building; assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_it_is_built_once_and_then_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    assert open_kernels(may_build=False) == Unavailable("they are not built yet")
    assert list(place.iterdir()) == []
    built = open_kernels(may_build=True)
    assert isinstance(built, Kernels)
    first = built.path.stat()
    again = open_kernels(may_build=False)
    assert isinstance(again, Kernels)
    assert again.path == built.path
    assert built.path.stat().st_mtime_ns == first.st_mtime_ns
    names = sorted(path.name for path in built.path.parent.iterdir())
    assert names == ["winograd.sha256", "winograd.so"]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "pictorch").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    refused = open_kernels(may_build=True)
    assert isinstance(refused, Unavailable)
    assert "cannot write" in refused.reason
