"""The rules of the house that a machine can hold."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/pictorch").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src/pictorch")))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_drawers() -> None:
    drawers = re.compile(r"(utils?|helpers?|common|misc|manager)(\.py)?")
    assert [path for path in SOURCES if any(drawers.fullmatch(part) for part in path.parts[-2:])] == []


def sources_with(pattern: str) -> list[str]:
    return [path.name for path in SOURCES for _ in re.findall(pattern, path.read_text())]


def test_one_training_loop() -> None:
    assert sources_with(r"\.backward\(") == ["loop.py"]


def test_one_decoder() -> None:
    assert sources_with(r"Image\.open\(") == ["images.py"]


def test_nothing_is_executed_that_was_only_meant_to_be_read() -> None:
    forbidden = (
        r"weights_only\s*=\s*False|pickle\.loads?\(|(?<![.\w])(?:eval|exec)\(|extractall\(|allow_pickle=True"
    )
    assert sources_with(forbidden) == []


def test_torch_loads_weights_only() -> None:
    assert len(sources_with(r"(?<!pic)torch\.load\(")) == len(sources_with(r"weights_only=True\)"))


def test_one_durable_writer() -> None:
    """fsync and rename are done in one place; the downloader's rename of a checked part is the other."""
    assert set(sources_with(r"os\.fsync\(|os\.replace\(|os\.rename\(")) <= {"durable.py", "download.py"}
