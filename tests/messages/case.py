"""A case: one way to cause an error, told once, carried out through the command line and through Python."""

import difflib
import hashlib
import inspect
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

import pictorch
from messages.sites import Site
from messages.watch import watching
from pictorch import cli
from pictorch.cli.parser import build_parser
from pictorch.errors import UserError

LONGEST = 250
_REMEDY = re.compile(r"; |: should |: write `")
_NOISE = re.compile(r"Traceback|Errno|<class|object at 0x|\bNone\b|\\x1b|Exception\b")

Setup = Callable[[], object]
Remedy = Callable[["Case", str], None]


class HasNames(Protocol):
    """What says which value or path a message must hold."""

    @property
    def names(self) -> str:
        """The value or path."""


@dataclass(frozen=True)
class Case:
    """What is typed, what must be answered, and what then helps.

    `argv` is the command; `names` the value or path that the message must hold; `setup` makes the
    folder that it runs in, which is the working folder; `fault` lasts while the command runs and not
    while the remedy does. `only` says why there is no other door: 'cli: ...' or 'python: ...'.
    `makes` are the files and folders that the failing command may leave. `slow` says that it takes a
    second or more: `make check` only provokes it.
    """

    name: str
    argv: str | Sequence[str]
    exit_code: int
    names: str
    remedy: Remedy
    setup: Setup = lambda: None
    fault: Callable[[], AbstractContextManager[object]] = nullcontext
    only: str = ""
    makes: tuple[str, ...] = ()
    slow: bool = False
    call: Callable[[], object] | None = field(default=None)

    @property
    def words(self) -> list[str]:
        """The command as a list of words."""
        return shlex.split(self.argv) if isinstance(self.argv, str) else list(self.argv)


def through_cli(case: Case, capsys: pytest.CaptureFixture[str]) -> tuple[str, set[Site]]:
    """Runs the command with --json, checks all that holds for every error, returns message and sites."""
    capsys.readouterr()
    before = _tree()
    with watching() as watch, case.fault():
        exit_code = cli.main([*case.words, "--json"])
    said = capsys.readouterr()
    assert exit_code == case.exit_code, said.err
    assert said.out.count("\n") == 1, said.out
    answer = json.loads(said.out)
    assert answer.keys() == {"error", "exit_code"}
    assert answer["exit_code"] == exit_code
    lines = [line for line in said.err.splitlines() if line.startswith("pictorch: ")]
    assert [line.removeprefix("pictorch: ") for line in lines] == answer["error"].splitlines()
    assert "Traceback" not in said.err
    check_message(case, answer["error"])
    after = _tree()
    changed = {name for name, content in after.items() if before.get(name) != content}
    unwanted = {name for name in changed if not name.startswith(case.makes or ("\0",))}
    assert not unwanted, f"a failing command left or changed {unwanted}"
    assert not before.keys() - after.keys(), "a failing command removed files"
    return answer["error"], watch.behind(answer["error"])


def through_python(case: Case) -> tuple[str, set[Site]]:
    """Calls the twin with what the parser makes of the command; returns message and sites."""
    with watching() as watch, case.fault(), pytest.raises(UserError) as caught:
        (case.call or as_call(case.words))()
    assert caught.value.exit_code == case.exit_code, caught.value
    message = str(caught.value)
    check_message(case, message)
    return message, watch.behind(message, caught.value)


def as_call(words: list[str]) -> Callable[[], object]:
    """Returns the function in pictorch that a command stands for, with the command's arguments."""
    from pictorch.training.console import Console

    name = "import_model" if words[0] == "import" else words[0]
    twin = getattr(pictorch, name if name in pictorch.__all__ else "_".join(words[:2]))
    parameters = inspect.signature(twin).parameters
    given = {**vars(build_parser(*cli.ROOMS).parse_args(words)), "console": Console("quiet")}
    return partial(twin, **{name: value for name, value in given.items() if name in parameters})


def check_message(case: HasNames, message: str) -> None:
    """Checks what holds for every message: short lines, the place, a remedy, nothing for programmers."""
    place = str(Path.cwd())
    assert case.names in message, f"{case.names!r} is not in: {message}"
    for line in message.splitlines():
        shown = line.replace(place, ".")
        assert len(shown) <= LONGEST, f"{len(shown)} characters: {shown}"
        assert _REMEDY.search(line), f"says not what to do: {line}"
        assert not _NOISE.search(line), line
        assert line == line.strip()
        assert line.count("`") % 2 == 0


def _tree() -> dict[str, str]:
    """Returns the hash of every file below the working folder, less the cache, logs and locks."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(Path().rglob("*"))
        if path.parts[0] != "cache" and path.name not in ("log.txt", "run.lock") and not path.is_fifo()
    }


def succeeds(words: Sequence[str]) -> None:
    """Runs a command that must succeed; --help is one that ends by itself."""
    try:
        exit_code = cli.main(list(words))
    except SystemExit as stop:
        exit_code = int(stop.code or 0)
    assert exit_code == 0, f"{shlex.join(words)} ends with {exit_code}"


# --- remedies ---------------------------------------------------------------------------------------


def again(mend: Callable[[], object]) -> Remedy:
    """After what the message asks for was done by `mend`, the same command succeeds."""

    def carry_out(case: Case, message: str) -> None:
        mend()
        succeeds(case.words)

    return carry_out


def instead(words: str, *, says: str) -> Remedy:
    """The message says `says`, and the command that follows it succeeds."""

    def carry_out(case: Case, message: str) -> None:
        assert says in message, message
        succeeds(shlex.split(words))

    return carry_out


def typed(number: int = 0, *, then_again: bool = True) -> Remedy:
    """What stands in backticks is typed: a flag is added to the command, a command is run before it."""

    def carry_out(case: Case, message: str) -> None:
        part = re.findall(r"`([^`]+)`", message)[number]
        words = shlex.split(part)
        if part.startswith("--"):
            return succeeds([*case.words, *words])
        if part.startswith("pictorch "):
            succeeds(words[1:])
        else:
            subprocess.run(part, shell=True, check=True)
        if then_again:
            succeeds(case.words)
        return None

    return carry_out


def meant(case: Case, message: str) -> None:
    """The hint replaces the wrong word, in the command and in the recipe, and the command succeeds."""
    before, _, after = message.partition(" (did you mean ")
    right = after.partition("?)")[0]
    recipes = [path.read_text() for path in Path().glob("*.yaml")]
    asked = set(re.findall(r"[\w-]+", " ".join([*case.words, *recipes])))
    (wrong,) = difflib.get_close_matches(right, asked & set(re.findall(r"[\w-]+", before)), n=1, cutoff=0.5)
    for path in Path().glob("*.yaml"):
        path.write_text(path.read_text().replace(wrong, right))
    succeeds([word.replace(wrong, right) for word in case.words])


def told(reason: str, *, says: str) -> Remedy:
    """The remedy cannot be carried out in a test, for this reason; the message only has to name it."""

    def carry_out(case: Case, message: str) -> None:
        assert says in message, message

    carry_out.reason = reason  # type: ignore[attr-defined]
    return carry_out
