"""Tables as text: comma-separated values for programs, Markdown for people."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows with the same keys as CSV with a header; None is an empty field."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Returns rows with the same keys as a Markdown table; all columns but the first are set right."""
    heads = list(rows[0]) if rows else []
    marks = ["---", *["---:"] * (len(heads) - 1)]
    lines = [heads, marks, *([row[head].replace("|", "\\|") for head in heads] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
