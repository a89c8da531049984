"""Pages that list what the source has: commands and their twins, exit codes, files for a change."""

import inspect
import re
from pathlib import Path

import pytest

import pictorch
from pictorch import cli, errors
from pictorch.cli.parser import build_parser
from test_cli import commands_of

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs/commands.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_command_stands_beside_its_function() -> None:
    rows = re.findall(r"^\| `pictorch ([a-z ]+)` \| `pictorch\.(\w+)` \| `(\w+)`", COMMANDS, re.MULTILINE)
    assert sorted(verb for verb, _, _ in rows) == sorted(
        verb for verb, _ in commands_of(build_parser(*cli.ROOMS))
    )
    for verb, twin, result in rows:
        assert twin == ("import_model" if verb == "import" else verb.replace(" ", "_"))
        returned = inspect.signature(getattr(pictorch, twin)).return_annotation
        named = re.split(r"[\[ ]", getattr(returned, "__name__", str(returned)))[0]
        assert named.rpartition(".")[2] == result, verb
    others = set(pictorch.__all__) - {twin for _, twin, _ in rows}
    assert others == {"load", "load_recipe"}
    assert all(f"`pictorch.{name}`" in COMMANDS for name in others)


def test_every_exit_code_is_listed() -> None:
    listed = set(map(int, re.findall(r"^\| (\d+) \|", COMMANDS, re.MULTILINE)))
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert listed == {0, *(kind.exit_code for kind in kinds if issubclass(kind, errors.UserError))}


@pytest.mark.parametrize("page", [CONTRIBUTING, COMMANDS], ids=["CONTRIBUTING.md", "commands.md"])
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|txt))`", page)
    named += re.findall(r"\]\(\.\./([^)]+)\)", page)
    assert named
    for name in named:
        if "NAME" not in name:
            assert any((root / name).exists() for root in (ROOT, ROOT / "src/pictorch")), name


def test_names_that_a_newcomer_is_sent_to_are_there() -> None:
    for name, file in re.findall(r"`(\w+)` of `([\w./]+\.py)`", CONTRIBUTING):
        assert re.search(rf"^(class )?{name}\b", (ROOT / "src/pictorch" / file).read_text(), re.MULTILINE), (
            name
        )


def test_contributing_is_one_page() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 50
