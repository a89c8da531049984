"""The demo, as a person starts it: one command in a new process, everything for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pictorch


@pytest.mark.slow
def test_demo_trains_judges_exports_predicts_and_reports() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pictorch", "demo"], capture_output=True, text=True, check=True
    )
    assert "test accuracy" in done.stdout
    for line in (
        "run     runs/digits-001",
        "bundle  runs/digits-001/bundle",
        "report  runs/digits-001/report.html",
    ):
        assert line in done.stdout
    assert done.stdout.count("test image of class ") == 3
    result = json.loads(Path("runs/digits-001/evaluation/test.json").read_text())
    assert result["n"] == 359
    assert result["accuracy"] > 0.97
    assert result["test_openings"] == 1
    assert pictorch.verify("runs/digits-001/bundle").ok
    assert "data:image/png" in Path("runs/digits-001/report.html").read_text()
