"""The demo, as a person starts it: one command in a new process, everything for real."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pictorch
from test_readme import TEXT, blocks

pytestmark = pytest.mark.slow
(RECORDING,) = blocks(TEXT, "text")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Where the command that the README shows was run, and what it wrote to stdout and stderr."""
    place = tmp_path_factory.mktemp("demo")
    call = RECORDING.splitlines()[0].removeprefix("$ ")
    assert call == "pictorch demo"
    done = subprocess.run(
        [sys.executable, "-m", *call.split()], cwd=place, capture_output=True, text=True, check=True
    )
    return place, done.stdout, done.stderr


def test_it_trains_judges_exports_predicts_and_reports(demo: tuple[Path, str, str]) -> None:
    place, stdout, _ = demo
    assert "test accuracy" in stdout
    for line in (
        "run     runs/digits-001",
        "bundle  runs/digits-001/bundle",
        "report  runs/digits-001/report.html",
    ):
        assert line in stdout
    assert stdout.count("test image of class ") == 3
    run = place / "runs/digits-001"
    result = json.loads((run / "evaluation/test.json").read_text())
    assert result["n"] == 359
    assert result["accuracy"] > 0.97
    assert result["test_openings"] == 1
    assert pictorch.verify(run / "bundle").ok
    assert "data:image/png" in (run / "report.html").read_text()


def test_the_recording_in_the_readme_is_what_it_says(demo: tuple[Path, str, str]) -> None:
    _, stdout, stderr = demo
    said = {masked(line) for line in (stdout + stderr).splitlines()}
    for line in RECORDING.splitlines()[1:]:
        assert line == "…" or masked(line) in said, line


def masked(line: str) -> str:
    """Returns a line without its figures, which depend on the machine, and without a program's path."""
    line = re.sub(r"^next: .* -m pictorch ", "next: pictorch ", line)
    return " ".join(re.sub(r"\d[\d.,]*(e-?\d+)?", "#", line).removesuffix("best").split())
