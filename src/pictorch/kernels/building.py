"""Compiles the C++ of `winograd/` with the machine's compiler, once, into the user's cache or a wheel."""

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pictorch.durable import explained, file_sha256, write_bytes
from pictorch.errors import UserError
from pictorch.places import cache_folder

SOURCES = Path(__file__).with_name("winograd")
PACKAGED = SOURCES.with_name("compiled")  # in wheels for one kind of machine only, see setup.py
_COMPILERS = ("c++", "g++", "clang++")
# No option that lets the compiler reorder sums or forget NaN and infinity.
_OPTIONS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-fvisibility=hidden", "-pthread")
_FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"avx512": ("-mavx512f", "-mfma"), "avx2": ("-mavx2", "-mfma"), "generic": ()},
    "aarch64": {"generic": ()},  # NEON, not run yet
}
_FORMS["AMD64"], _FORMS["arm64"] = _FORMS["x86_64"], _FORMS["aarch64"]
_TIME_LIMIT_SECONDS = 300
BUILDING_SECONDS = 12.0  # on two cores (docs/kernels.md)


@dataclass(frozen=True)
class Unavailable:
    """Why the kernels cannot be used here, in a few words."""

    reason: str


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that was found, the arguments that $CXX gives it, and what it says its version is."""

    path: str
    version: str
    arguments: tuple[str, ...] = ()


def find_compiler() -> Compiler | Unavailable:
    """Returns the compiler that $CXX names, else the first of c++, g++ and clang++ that answers.

    $CXX may be a command with arguments, as 'ccache g++'.
    """
    named = os.environ.get("CXX", "").strip()
    for name, *arguments in [_words(named)] if named else [[name] for name in _COMPILERS]:
        path = shutil.which(name)
        if path is None:
            continue
        command = [path, *arguments, "--version"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
        except (OSError, subprocess.SubprocessError):
            continue
        if answer.returncode == 0 and answer.stdout:
            return Compiler(os.path.abspath(path), answer.stdout.splitlines()[0], tuple(arguments))
    return Unavailable(
        f"CXX={named} is no C++ compiler that runs" if named else "no C++ compiler (c++, g++, clang++)"
    )


def _words(command: str) -> list[str]:
    """Returns a command and its arguments; a path may have spaces without quotes."""
    try:
        return [command] if shutil.which(command) else shlex.split(command) or [command]
    except ValueError:  # a quote without its other half
        return [command]


def built_path(compiler: Compiler) -> Path:
    """Returns where the library of these sources, this compiler and this kind of processor belongs."""
    key = _key([compiler.version, shlex.join(compiler.arguments)])
    return cache_folder() / "kernels" / f"{_key(_origin())}-{key}" / "winograd.so"


def packaged_path() -> Path:
    """Returns where a wheel holds the library of these very sources, whichever compiler made it."""
    return PACKAGED / _key(_origin()) / "winograd.so"


def present_paths() -> list[Path]:
    """Returns the libraries of these very sources that are here, whole, the wheel's first.

    In the cache those of other compilers count too: one may have been replaced since, or be gone.
    """
    in_cache = sorted((cache_folder() / "kernels").glob(f"{_key(_origin())}-*/winograd.so"))
    return [path for path in (packaged_path(), *in_cache) if is_built(path)]


def _origin() -> list[str]:
    """Returns what a library comes from, the compiler left out."""
    facts = [platform.machine(), repr(_OPTIONS), repr(_FORMS)]
    return facts + [f"{path.name}\n{path.read_text()}" for path in sorted(SOURCES.iterdir())]


def _key(facts: list[str]) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def is_built(path: Path) -> bool:
    """Returns whether a library is there, and as it was built: a damaged one can end the process."""
    try:
        return file_sha256(path) == _hash_path(path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return False


def build_of(library: Path) -> str:
    """Returns what tells the bits that a library computes from those of another: the start of its SHA-256."""
    return file_sha256(library)[:16]


def times_folder(library: Path) -> Path:
    """Returns where what is measured of a library is kept: beside it; for a wheel's, in the user's cache."""
    in_wheel = PACKAGED in library.parents  # which need not be a place to write to
    return cache_folder() / "kernels" / build_of(library) if in_wheel else library.parent


def _hash_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def build(compiler: Compiler, target: Path | None = None) -> Path | Unavailable:
    """Compiles all forms into one library and returns its path; at once where it was built before.

    It goes into the user's cache, or to `target`.
    """
    target = target or built_path(compiler)
    forms = _FORMS.get(platform.machine())
    if is_built(target):
        return target
    if forms is None:
        return Unavailable(f"no kernels are written for the processor {platform.machine()}")
    try:
        _try_writing(target.parent)
    except UserError as error:
        return Unavailable(cache_problem(error))
    try:
        with _in_turn(target.parent):
            return target if is_built(target) else _compiled(compiler, forms, target)
    except (OSError, UserError) as error:
        return Unavailable(str(error))


def cache_problem(error: UserError) -> str:
    """Returns why the cache cannot be written, and what to do about it."""
    return f"{str(error).partition(';')[0]}, mend that or name another place for the cache in XDG_CACHE_HOME"


def _try_writing(folder: Path) -> None:
    """Raises ResourceError where nothing can be written, before twelve seconds are spent on compiling."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Lets one process at a time work for a folder; the others find what it built."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks, where each builds for itself
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _compiled(compiler: Compiler, forms: dict[str, tuple[str, ...]], target: Path) -> Path | Unavailable:
    command = [compiler.path, *compiler.arguments, *_OPTIONS]
    with tempfile.TemporaryDirectory() as folder:
        objects = [
            (f"{name}.o", [*options, str(SOURCES / "convolution.cpp")]) for name, options in forms.items()
        ]
        objects += [(f"{name}.o", [str(SOURCES / f"{name}.cpp")]) for name in ("threads", "interface")]
        problem = _run_all([[*command, "-c", *words, "-o", name] for name, words in objects], folder)
        if problem is None:
            names = [name for name, _ in objects]
            problem = _run_all([[*command, "-shared", *names, "-o", "winograd.so"]], folder)
        if problem is not None:
            return Unavailable(f"{compiler.path} failed: {problem}")
        library = Path(folder, "winograd.so").read_bytes()
    write_bytes(target, library)
    write_bytes(_hash_path(target), hashlib.sha256(library).hexdigest().encode())
    return target


def _run_all(commands: list[list[str]], folder: str) -> str | None:
    """Runs commands side by side; returns the first line that says what went wrong with one of them."""
    running = []
    try:
        for words in commands:
            running.append(
                subprocess.Popen(
                    words,
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            )
        for process in running:
            said = process.communicate(timeout=_TIME_LIMIT_SECONDS)[1].splitlines()
            if process.returncode != 0:
                errors = [line for line in said if "error" in line]
                return (errors or said or [f"exit code {process.returncode}"])[0][:200]
    except subprocess.TimeoutExpired:
        return f"not done after {_TIME_LIMIT_SECONDS} s"
    except OSError as error:
        return str(error)
    finally:
        for process in running:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
    return None
