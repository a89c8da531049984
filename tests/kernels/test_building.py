"""The build: which compiler, where to, and one clear reason where it cannot be done; a wheel's library."""

import hashlib
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pictorch.kernels import building, library
from pictorch.kernels.building import (
    SOURCES,
    Compiler,
    Unavailable,
    build,
    build_of,
    built_path,
    find_compiler,
    is_built,
    packaged_path,
    present_paths,
    times_folder,
)
from pictorch.kernels.library import Kernels, load, open_kernels

_LAST = "for last; do :; done"  # the name behind -o


def written_compiler(folder: Path, script: str, name: str = "compiler") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_named_compiler_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written_compiler(tmp_path, "echo its version 1.2; echo more")
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler() == Compiler(str(path), "its version 1.2")


def test_a_command_with_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ccache: the arguments belong to every call, and tell a build from those with others."""
    answers = f"[ $2 = --version ] && echo 1.2 && exit; {_LAST}; echo a library > $last"
    named = f"{written_compiler(tmp_path, 'exec $*', 'cache')} '{written_compiler(tmp_path, answers)}' -g"
    monkeypatch.setenv("CXX", named)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = find_compiler()
    arguments = (str(tmp_path / "compiler"), "-g")
    assert compiler == Compiler(str(tmp_path / "cache"), "1.2", arguments)
    assert build(compiler) == built_path(compiler)
    assert built_path(compiler) != built_path(Compiler(compiler.path, "1.2"))


def test_a_path_with_a_space_needs_no_quotes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written_compiler(place, "echo 1.2", "the compiler")
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler() == Compiler(str(path), "1.2")
    monkeypatch.setenv("CXX", f"'{path}")
    assert find_compiler() == Unavailable(f"CXX='{path} is no C++ compiler that runs")


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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert open_kernels(may_build=True) == Unavailable("no C++ compiler (c++, g++, clang++)")


def test_the_first_error_of_the_compiler_is_the_reason(tmp_path: Path) -> None:
    path = written_compiler(tmp_path, "echo 'a note' >&2; echo 'x.cpp:3: error: no such thing' >&2; exit 1")
    assert build(Compiler(str(path), "1")) == Unavailable(f"{path} failed: x.cpp:3: error: no such thing")


def test_a_compiler_that_speaks_another_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written_compiler(
        tmp_path, "printf 'version \\351\\n'; printf 'x: error: \\351\\n' >&2; [ $1 = --version ]"
    )
    monkeypatch.setenv("CXX", str(path))
    compiler = find_compiler()
    assert compiler == Compiler(str(path), "version \N{REPLACEMENT CHARACTER}")
    assert build(compiler) == Unavailable(f"{path} failed: x: error: \N{REPLACEMENT CHARACTER}")


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


def test_of_processes_that_want_it_at_once_one_builds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads here, which lock a folder each for itself too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    script = f"{_LAST}; echo $last >> {place}/made; sleep 0.2; echo a library > $last"
    compiler = Compiler(str(written_compiler(place, script)), "1")
    with ThreadPoolExecutor(3) as threads:
        paths = set(threads.map(lambda _: build(compiler), range(3)))
    assert paths == {built_path(compiler)}
    assert (place / "made").read_text().split().count("winograd.so") == 1


def test_without_a_temporary_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    refused = build(Compiler(str(written_compiler(place, f"{_LAST}; echo a library > $last")), "temporary"))
    assert isinstance(refused, Unavailable)
    assert "nowhere" in refused.reason


def test_a_cache_that_cannot_be_written_costs_no_compiling(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "pictorch").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setenv(
        "CXX", str(written_compiler(place, f"echo 1.2; [ $1 = --version ] || touch {place}/called"))
    )
    refused = open_kernels(may_build=True)
    assert isinstance(refused, Unavailable)
    assert refused.reason.startswith(f"cannot write {place / 'pictorch/kernels'}")
    assert refused.reason.endswith(", mend that or name another place for the cache in XDG_CACHE_HOME")
    assert not (place / "called").exists()


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
def test_a_library_stays_when_its_compiler_goes(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or is replaced: the bits that a run began with are those of the library, which is still there."""
    monkeypatch.setenv("CXX", "nothing-there")
    assert opened().path == kernels.path
    monkeypatch.setattr(library, "find_compiler", lambda: Compiler("c++", "a newer one"))
    monkeypatch.setattr(library, "build", lambda compiler: pytest.fail("it was to be had without"))
    found = open_kernels(may_build=True, wanted=kernels.build)
    assert isinstance(found, Kernels)
    assert (found.path, found.build) == (kernels.path, kernels.build)


def test_a_library_of_other_sources_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    compiler = Compiler("c++", "1")
    write_library(built_path(compiler), b"a library")
    assert present_paths() == [built_path(compiler)]
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert present_paths() == []


# --- what a wheel brings along --------------------------------------------------------------------


@pytest.fixture
def wheels(kernels: Kernels, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library as a wheel holds it; it computes as the one in the cache does, and is another file."""
    monkeypatch.setattr(building, "PACKAGED", place)
    write_library(packaged_path(), kernels.path.read_bytes() + b" ")
    return packaged_path()


def write_library(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(hashlib.sha256(data).hexdigest())


def opened(*, wanted: str | None = None) -> Kernels:
    found = open_kernels(may_build=False, wanted=wanted)
    assert isinstance(found, Kernels), found
    return found


@pytest.mark.slow
def test_the_wheels_library_is_taken_without_a_compiler(
    kernels: Kernels, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "nothing-there")
    assert opened().path == wheels
    assert opened().build == build_of(wheels) != kernels.build
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert open_kernels(may_build=True) == Unavailable("CXX=nothing-there is no C++ compiler that runs")


@pytest.mark.slow
def test_the_wheels_library_is_of_these_very_sources_or_left(
    kernels: Kernels, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "nothing-there")
    changed = shutil.copytree(SOURCES, tmp_path / "changed")
    monkeypatch.setattr(building, "SOURCES", changed)
    assert opened().path == wheels
    (changed / "tiles.h").write_text((changed / "tiles.h").read_text() + "\n")
    assert open_kernels(may_build=True) == Unavailable("CXX=nothing-there is no C++ compiler that runs")


@pytest.mark.slow
def test_where_the_wheels_library_fails_there_is_the_caches(kernels: Kernels, wheels: Path) -> None:
    wheels.write_bytes(kernels.path.read_bytes())  # whose hash is not the one beside it
    assert opened().path == kernels.path
    write_library(wheels, b"no library")
    assert opened().path == kernels.path


def test_all_that_failed_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PACKAGED", place)
    monkeypatch.setenv("CXX", "nothing-there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    write_library(packaged_path(), b"no library")
    refused = open_kernels(may_build=True)
    assert isinstance(refused, Unavailable)
    assert refused.reason.startswith(f"{packaged_path()} cannot be loaded (")
    assert refused.reason.endswith("); CXX=nothing-there is no C++ compiler that runs")


@pytest.mark.slow
def test_the_build_that_is_wanted_comes_first(kernels: Kernels, wheels: Path) -> None:
    assert opened(wanted=kernels.build).path == kernels.path
    assert opened(wanted=build_of(wheels)).path == wheels
    assert opened(wanted="another").path == wheels


@pytest.mark.slow
def test_times_of_the_wheels_library_are_kept_in_the_cache(kernels: Kernels, wheels: Path) -> None:
    assert times_folder(kernels.path) == kernels.path.parent
    assert times_folder(wheels) == kernels.path.parent.with_name(build_of(wheels))
