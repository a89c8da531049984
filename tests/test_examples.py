"""The notebook is what it says: it runs from top to bottom, and its committed outputs are of that kind."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from own_module import write_own_net
from pictorch import cli

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = EXAMPLES / "first_steps.ipynb"


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def shape(outputs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Returns the kind of each output: what it is and the forms that it comes in."""
    return [(one["output_type"], one.get("name", ""), *sorted(one.get("data", ()))) for one in outputs]


def test_the_committed_notebook_was_executed_and_tells_nothing_of_its_machine() -> None:
    text = NOTEBOOK.read_text()
    assert [cell["execution_count"] for cell in cells(NOTEBOOK)] == [1, 2, 3, 4, 5, 6]
    assert all(cell["outputs"] for cell in cells(NOTEBOOK))
    assert not re.search(r"/home|/tmp|/root|/work|iopub|language_info|\d{4}-\d\d-\d\d", text)
    assert len(text) < 200_000


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_was_committed(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.ipynb"
    command = [sys.executable, EXAMPLES / "execute.py", NOTEBOOK, fresh]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for old, new in zip(cells(NOTEBOOK), cells(fresh), strict=True):
        assert shape(new["outputs"]) == shape(old["outputs"]), old["source"]
    html = "".join("".join(one["data"]["text/html"]) for cell in cells(fresh)
                   for one in cell["outputs"] if "text/html" in one.get("data", {}))  # fmt: skip
    for shown in ("n = 359", "best validation accuracy", "<svg", "data:image/png;base64,"):
        assert shown in html


@pytest.mark.slow
def test_the_network_of_ones_own_runs_as_its_head_says(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (EXAMPLES / "own_network.py").read_text()
    write_own_net(monkeypatch, source, name="own_network")
    done = subprocess.run([sys.executable, "own_network.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    accuracy, answer = done.stdout.split()
    assert float(accuracy) > 0.9
    assert answer == "0"
    lines = [line for line in source.splitlines() if line.startswith("pictorch ")]
    assert len(lines) == 4
    for line in lines:
        assert cli.main(shlex.split(line)[1:] + (["--epochs", "3"] if " train " in line else [])) == 0, line
