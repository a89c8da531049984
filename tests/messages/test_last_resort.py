"""What is no user error of its own kind still ends in one line: interrupts, the system's refusals, bugs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from messages.material import recipe
from pictorch import cli, durable
from pictorch.cli.parser import build_parser

TRAIN = ["train", "small.yaml", "-q", "--out", "out"]


def said(capsys: pytest.CaptureFixture[str], exit_code: int, *words: str) -> str:
    """Runs a command that must fail without --json; returns its only line."""
    capsys.readouterr()
    assert cli.main(list(words)) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pictorch: ")
    assert err.count("\n") == 1, err
    assert "; " in err
    return err


NO_TORCH = ModuleNotFoundError("No module named 'torch'", name="torch")
NO_FILE_OF_OURS = ModuleNotFoundError("No module named 'pictorch.x'", name="pictorch.x")


@pytest.mark.parametrize(
    ("error", "exit_code", "parts"),
    [
        (KeyboardInterrupt(), 130, ["SIGINT", "run it again"]),
        (MemoryError(), 5, ["out of memory", "close other programs"]),
        (PermissionError(13, "Permission denied", "x.png"), 5, ["x.png", "Permission denied", "its rights"]),
        (OSError("disk on fire"), 5, ["disk on fire", "free space"]),
        (NO_TORCH, 9, ["torch", "`pip install 'pictorch[train]'`"]),
        (NO_FILE_OF_OURS, 1, ["a bug of pictorch"]),
        (ZeroDivisionError("oh"), 1, ["a bug of pictorch", "ZeroDivisionError: oh", "--debug"]),
        (ValueError("two\nlines " + "x" * 500), 1, ["two lines"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_any_other_error_is_one_line_too(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    exit_code: int,
    parts: list[str],
) -> None:
    def broken(name: str | None = None) -> None:
        raise error

    monkeypatch.setattr("pictorch.recipe.files.recipes", broken)
    line = said(capsys, exit_code, "recipes")
    assert all(part in line for part in parts), line
    assert "Errno" not in line
    assert len(line) < 250


def test_a_bug_is_placed_in_our_own_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pictorch.recipe.files.packaged_recipes", lambda: json.loads("{"))
    assert " in files.py, line " in said(capsys, 1, "recipes")


def test_debug_shows_the_way_to_an_error_and_quiet_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "nowhere", "--debug"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("pictorch: nowhere is not a run folder")


def test_the_flags_that_every_command_takes_are_explained() -> None:
    text = next(iter(build_parser(*cli.ROOMS)._subparsers._group_actions)).choices["train"].format_help()  # type: ignore[union-attr]
    for flag in ("--json", "--quiet", "--verbose", "--debug"):
        assert flag in text


def test_all_problems_of_a_recipe_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(
        "data: {source: photos, val_fractoin: 0.2}\n"
        "model: {name: cifar_cnn}\n"
        "optimizer: {lr: -1, nam: sgd}\n"
        "schedule: {name: cosin}\n"
        "train: {epochs: many}\n"
        "lose: {}\n"
    )
    assert cli.main(TRAIN) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("pictorch: small.yaml: ") and len(line) <= 260 for line in lines)
    text = "\n".join(lines)
    for found in (
        "data.val_fractoin = 0.2: unknown key (did you mean val_fraction?)",
        "unknown network 'cifar_cnn' (did you mean cifar10_cnn?)",
        "optimizer.lr = -1",
        "optimizer.nam = 'sgd': unknown key (did you mean name?)",
        "schedule.name = 'cosin'",
        "(did you mean cosine?)",
        "train.epochs = 'many'",
        "lose: unknown section (did you mean loss?)",
    ):
        assert found in text, found
    assert not Path("out").exists()


def test_a_full_disk_keeps_the_first_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the second epoch is saved; the first stays, and the run goes on later."""
    recipe()
    real, saved = os.rename, 0

    def rename(source: Any, target: Any) -> None:
        nonlocal saved
        saved += "last" in Path(target).name
        if saved > 1:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as full:
        full.setattr(durable.os, "rename", rename)
        line = said(capsys, 5, *TRAIN, "--epochs", "2")
    assert "no space left while writing out/checkpoints/last" in line
    assert durable.verify_folder(Path("out/checkpoints/last"))["metrics"]["epoch"] == 1
    assert cli.main(["train", "--resume", "out", "-q"]) == 0


def test_a_path_that_is_no_text_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fsdecode(b"run\xff")
    assert "run\\udcff is not a run folder" in said(capsys, 4, "evaluate", path)
    assert cli.main(["evaluate", path, "--json"]) == 4
    assert "run\\udcff" in json.loads(capsys.readouterr().out)["error"]
