"""The errors that a user can cause, each with the exit code of its kind.

Every message is one line that says what is wrong, where, and what to do; a command or option that
mends it stands in backticks, ready to be typed. tests/messages provokes every one of them. Anything
else that is raised is a bug of pictorch and leaves with exit code 1.
"""

import difflib
import shlex
import sys
from collections.abc import Iterable
from os import PathLike

# Packages that come with an extra, by the name that is imported.
_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "sklearn": "train",
    "scipy": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "onnx": "train",
    "onnxscript": "train",
    "executorch": "mobile",
    "fastapi": "serve",
    "httptools": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "uvicorn": "serve",
}
_MOST_LISTED = 20
_LISTED_CHARACTERS = 90


class UserError(Exception):
    """Something that the user can mend; `exit_code` is what the command line returns for it."""

    exit_code = 1


class RecipeError(UserError):
    """A wrong command, recipe or option (exit 2); `problems` holds one line for each fault."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(UserError):
    """A data source that is missing, damaged or inconsistent (exit 3)."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint, weights file or bundle that is refused (exit 4)."""

    exit_code = 4


class ResourceError(UserError):
    """Disk, memory, permission or port (exit 5)."""

    exit_code = 5


class DivergedError(UserError):
    """The loss is not finite any more (exit 6)."""

    exit_code = 6


class RunInUseError(UserError):
    """Another process works in this run folder (exit 7)."""

    exit_code = 7


class GateError(UserError):
    """A result that is not good enough to be passed on (exit 8)."""

    exit_code = 8


class MissingPartError(UserError):
    """An optional part is not installed (exit 9)."""

    exit_code = 9

    def __init__(self, extra: str, module: str, remedy: str = "") -> None:
        remedy = remedy or f"install it with `pip install 'pictorch[{extra}]'`"
        super().__init__(f"{module} is not installed; {remedy}")


def missing_part(error: ModuleNotFoundError) -> MissingPartError | None:
    """Returns the error that names the extra of a module that is not there, None where it has none."""
    module = error.name or ""
    extra = _EXTRAS.get(module.partition(".")[0])
    return MissingPartError(extra, module) if extra else None


class StoppedError(UserError):
    """A signal ended the work after its state was saved (exit 128 + signal number)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class SaidElsewhereError(UserError):
    """Another process of the same group says what is wrong; this one ends silently with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' (did you mean X?)' for the nearest known name, or '' when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]}?)" if matches else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the one line that refuses an unknown name and lists the known ones, of many the nearest."""
    names = sorted(known)
    near = nearest(name, names)
    if len(names) > _MOST_LISTED:
        names.sort(key=lambda each: -difflib.SequenceMatcher(None, name, each).ratio())
    return f"unknown {kind} {name!r}{near}; known: {listed(names)}"


def renaming() -> str:
    """Returns the remedy for a name that is no UTF-8, which in another locale Python may only misread."""
    encoding = sys.getfilesystemencoding()
    return "rename it" if encoding == "utf-8" else f"set PYTHONUTF8=1, Python reads names as {encoding} here"


def listed(names: Iterable[str]) -> str:
    """Returns the names with commas between them; of very many the first, and how many others."""
    every = list(names)
    few = every[:1]
    while len(few) < len(every) and len(", ".join(few)) + len(every[len(few)]) < _LISTED_CHARACTERS:
        few.append(every[len(few)])
    left = len(every) - len(few)
    return ", ".join(few) + (f" and {left:,} other{'s' if left > 1 else ''}" if left else "")


def unreadable(path: str | PathLike[str], error: Exception) -> str:
    """Returns, to follow the name of a file or folder, why the system does not read it and what to do."""
    allow = f"allow it with `chmod u+rX {shlex.quote(str(path))}`"
    remedy = allow if isinstance(error, PermissionError) else "check the path and the disk"
    return f"cannot be read ({getattr(error, 'strerror', None) or error}); {remedy}"
