"""The errors that a user can cause, each with the exit code of its kind.

Every message is one line that says what is wrong, where, and what to do. Anything else that is
raised is a bug of pictorch and leaves with exit code 1.
"""

import difflib
from collections.abc import Iterable


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

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"{module} is not installed; install it with: pip install 'pictorch[{extra}]'")


class StoppedError(UserError):
    """A signal ended the work after its state was saved (exit 128 + signal number)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' (did you mean X?)' for the nearest known name, or '' when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]}?)" if matches else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the one line that refuses an unknown name and lists the known ones."""
    names = sorted(known)
    return f"unknown {kind} {name!r}{nearest(name, names)}; known: {', '.join(names)}"
