"""A measurement as it is kept: what was asked, where and with which version, and every value."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pictorch import durable
from pictorch.benchmarking.table import csv_text, markdown_table
from pictorch.host import load_share

BUSY = 0.5  # load per CPU before the measurement, from which its times are called disturbed


def record_of(question: str, command: str, environment: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """Returns a record in the form of benchmarks/results; `rest` holds n, the values and their summary."""
    return {
        "question": question,
        "command": command,
        "commit": commit(),
        "environment": environment,
        **rest,
    }


def commit() -> str:
    """Returns the short hash of pictorch's own commit, marked where files differ; '' outside a clone."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def load_remark(load: float) -> list[str]:
    """Returns what to think of times that were taken beside other work, nothing on an idle machine."""
    if load < BUSY:
        return []
    return [f"the machine was busy before ({load:.0%} of its CPUs): times are longer than on an idle one"]


def load_now() -> float:
    """Returns the load of the last minute per CPU, rounded as it is kept."""
    return round(load_share(), 2)


def write_results(
    folder: Path,
    name: str,
    record: dict[str, Any],
    tables: Sequence[tuple[list[dict[str, Any]], list[dict[str, str]]]],
    remarks: Sequence[str],
) -> list[Path]:
    """Writes NAME.json, NAME.csv and NAME.md, and returns their paths.

    A table comes twice: its values for the CSV, the first table only, and its words for the Markdown.
    """
    parts = [markdown_table(shown) for _, shown in tables if shown]
    text = "\n".join([f"# {record['question']}\n", f"`{record['command']}`\n", *parts, *_listed(remarks)])
    contents = {
        "json": durable.json_bytes(record),
        "csv": csv_text(tables[0][0]).encode(),
        "md": text.encode(),
    }
    for kind, data in contents.items():
        durable.write_bytes(folder / f"{name}.{kind}", data)
    return [folder / f"{name}.{kind}" for kind in contents]


def _listed(remarks: Sequence[str]) -> list[str]:
    return [f"- {remark}" for remark in remarks] + [""]
