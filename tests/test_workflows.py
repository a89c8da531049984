"""The workflow files: they name what is there, pin what they use, and hold no right they do not need."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
problems = runpy.run_path(str(ROOT / ".github/check_tag.py"))["problems"]


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_commands_are_there_and_actions_are_pinned(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        program, argument = command.split()[:2]
        assert (program, argument in targets or (ROOT / argument).is_file()) in (
            ("make", True),
            ("python", True),
        ), command
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
    for line in path.read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"# v\d+\.\d+\.\d+$", line), line


def test_there_are_workflows_for_pushes_and_releases() -> None:
    assert [path.name for path in WORKFLOWS] == ["check.yml", "release.yml"]


def test_only_the_publishing_job_may_publish() -> None:
    record = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert record[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert record["permissions"] == {"contents": "read"}
    build, publish = record["jobs"]["build"], record["jobs"]["publish"]
    assert "permissions" not in build
    assert (publish["permissions"], publish["needs"]) == ({"id-token": "write"}, "build")
    commands = [step["run"] for step in build["steps"] if "run" in step]
    made = ["make check", "make web-runtime", "make wheel"]  # the wheel holds what the second one fetches
    assert commands == ['python .github/check_tag.py "$GITHUB_REF_NAME"', *made]
    assert not any("run" in step for step in publish["steps"])


def test_the_changelog_has_the_version_of_the_package_on_top() -> None:
    newest = re.search(r"^## (\S+) \((not released|\d{4}-\d\d-\d\d)\)$", CHANGELOG, re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION


def test_a_tag_is_refused_unless_version_and_changelog_say_the_same() -> None:
    assert problems("v1.2.0", "1.2.0", "# Changelog\n\n## 1.2.0 (2027-01-31)\n") == []
    (line,) = problems("v1.2.1", "1.2.0", "## 1.2.0 (2027-01-31)")
    assert "v1.2.1" in line
    assert "1.2.0" in line
    for changelog in ("", "## 1.2.0 (not released)", "## 1.2.0", "## 1a2b0 (2027-01-31)", "## 1.2.0 (soon)"):
        (line,) = problems("v1.2.0", "1.2.0", changelog)
        assert "CHANGELOG.md" in line
