"""Refuses to release a tag that is not the version of pyproject.toml, or that CHANGELOG.md does not date."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def problems(tag: str, version: str, changelog: str) -> list[str]:
    """Returns what is wrong with releasing `tag`, one line each; none where it may go out."""
    found = [] if tag == f"v{version}" else [f"the tag is {tag}, but pyproject.toml has version {version}"]
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md needs the heading '## {version} (YYYY-MM-DD)' with the day of release")
    return found


if __name__ == "__main__":
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    lines = problems(sys.argv[1], version, (ROOT / "CHANGELOG.md").read_text())
    sys.exit("\n".join(lines) or 0)
