"""The picture of a comparison: accuracy against training time, and against the size of the file."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from pictorch import durable
from pictorch.benchmarking.zoo_row import ZooRow
from pictorch.datasets.pictures import Lettering

_INK, _MUTED, _GRID, _COLOR = "#111827", "#6b7280", "#e5e7eb", "#2563eb"


def write_pictures(folder: Path, rows: Sequence[ZooRow]) -> None:
    """Writes zoo.svg and zoo.png; equal rows give equal bytes. Nothing where there are no rows."""
    if not rows:
        return
    families = list(Lettering.of([row.network for row in rows]).families)
    with rc_context({"font.family": families, "svg.hashsalt": "zoo", "text.parse_math": False}):
        figure = Figure((10, 4.2), facecolor="white")
        left, right = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.12, top=0.97, wspace=0.04)
        _panel(left, rows, [(row.training_seconds or 0) / 60 for row in rows], "minutes of training")
        _panel(right, rows, [(row.onnx_bytes or 0) / 1e6 for row in rows], "size of the ONNX file in MB")
        left.set_ylabel("test accuracy in %, 95 % interval", size=8, color=_MUTED)
        for kind, metadata in {"svg": {"Date": None}, "png": {"Software": None}}.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=144, metadata=metadata)
            durable.write_bytes(folder / f"zoo.{kind}", buffer.getvalue())


def _panel(axes: Any, rows: Sequence[ZooRow], values: Sequence[float], label: str) -> None:
    """Draws a point with its interval and name for each network, on a logarithmic axis of values."""
    for row, x in zip(rows, values, strict=True):
        middle, low, high = (100 * (y or 0) for y in (row.test_accuracy, row.interval_low, row.interval_high))
        axes.errorbar(x, middle, [[middle - low], [high - middle]], fmt="o", color=_COLOR, capsize=3)
        axes.annotate(row.network, (x, middle), (7, 5), textcoords="offset points", size=8, color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.6, max(values) * 3)  # room for the names
    axes.set_xlabel(label, size=8, color=_MUTED)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(colors=_MUTED, labelsize=8, length=0)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
