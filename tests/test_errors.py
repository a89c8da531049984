"""The errors that a user can cause: their exit codes, and the lines that they say."""

import inspect
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch import errors
from pictorch.errors import (
    MissingPartError,
    RecipeError,
    SaidElsewhereError,
    StoppedError,
    UserError,
    listed,
    nearest,
    unknown,
    unreadable,
)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        ("RecipeError", 2),
        ("DataError", 3),
        ("CheckpointError", 4),
        ("ResourceError", 5),
        ("DivergedError", 6),
        ("RunInUseError", 7),
        ("GateError", 8),
        ("MissingPartError", 9),
    ],
)
def test_exit_code_of_each_kind(kind: str, exit_code: int) -> None:
    assert getattr(errors, kind).exit_code == exit_code


def test_no_two_kinds_share_an_exit_code() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, UserError)]
    codes = [kind.exit_code for kind in kinds if kind not in (UserError, StoppedError, SaidElsewhereError)]
    assert len(codes) == 8
    assert len(set(codes)) == 8


@pytest.mark.parametrize(("signal_number", "exit_code"), [(2, 130), (15, 143)])
def test_a_stop_by_signal_adds_128(signal_number: int, exit_code: int) -> None:
    error = StoppedError("stopped", signal_number)
    assert error.exit_code == exit_code
    assert str(error) == "stopped"


def test_recipe_error_holds_each_problem_on_its_own_line() -> None:
    error = RecipeError("first", "second")
    assert error.problems == ("first", "second")
    assert str(error) == "first\nsecond"


def test_missing_part_prints_the_pip_line() -> None:
    error = MissingPartError("train", "torch")
    assert str(error) == "torch is not installed; install it with `pip install 'pictorch[train]'`"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("simplenet", " (did you mean simple_net?)"),
        ("resnet81", " (did you mean resnet18?)"),
        ("transformer", ""),
        ("", ""),
    ],
)
def test_nearest(name: str, hint: str) -> None:
    assert nearest(name, ["resnet18", "simple_net", "cifar10_cnn"]) == hint


def test_unknown_lists_the_known_names_in_order() -> None:
    line = unknown("network", "simplenet", {"simple_net": 1, "resnet18": 2})
    assert line == "unknown network 'simplenet' (did you mean simple_net?); known: resnet18, simple_net"


@given(st.text(alphabet="abcé'\"\n\r\x85\u2028"), st.lists(st.text(alphabet="abc", min_size=1), unique=True))
@settings(deadline=None)
def test_unknown_is_one_line_for_any_name(name: str, known: list[str]) -> None:
    assert len(unknown("recipe", name, known).splitlines()) == 1


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=120), max_size=300))
@settings(deadline=None)
def test_listed_names_the_first_and_counts_the_others(names: list[str]) -> None:
    line = listed(names)
    shown, _, others = line.partition(" and ")
    kept = shown.split(", ") if shown else []
    assert kept == names[: len(kept)]
    assert len(kept) + int(re.sub(r",| others?$", "", others) or 0) == len(names)
    assert len(kept) == 1 or len(shown) <= 110


def test_listed_few_names_are_all_there() -> None:
    assert listed(["cat", "dog"]) == "cat, dog"
    assert listed([]) == ""


def test_unreadable_tells_the_right_that_is_missing() -> None:
    denied = PermissionError(13, "Permission denied")
    assert unreadable("my photos/a.png", denied) == (
        "cannot be read (Permission denied); allow it with `chmod u+rX 'my photos/a.png'`"
    )
    assert unreadable("a", OSError(5, "Input/output error")).endswith("; check the path and the disk")
    assert "embedded null byte" in unreadable("a\0", ValueError("embedded null byte"))
