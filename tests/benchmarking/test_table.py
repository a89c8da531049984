"""Tables as text, read back by the standard library's own reader."""

import csv
import io

from pictorch.benchmarking.table import csv_text, markdown_table

ROWS = [
    {"name": 'a "b", c', "value": 0.25, "missing": None},
    {"name": "x\ny|z", "value": 3, "missing": "why"},
]


def test_csv_reads_back() -> None:
    found = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert [row["name"] for row in found] == [row["name"] for row in ROWS]
    assert [float(row["value"]) for row in found] == [0.25, 3]
    assert [row["missing"] for row in found] == ["", "why"]


def test_markdown_keeps_cells_apart() -> None:
    head, marks, row = markdown_table([{"network": "a|b", "size": "1 MB"}]).splitlines()
    assert (head, marks, row) == ("| network | size |", "| --- | ---: |", "| a\\|b | 1 MB |")
