"""Puts the page together and writes it."""

from collections.abc import Callable
from pathlib import Path

from pictorch import durable
from pictorch.markup import Markup, element, group
from pictorch.reporting.classes import render_class_table, render_confusion
from pictorch.reporting.headline import render_head, render_headline, title
from pictorch.reporting.learning import render_curves, render_epochs
from pictorch.reporting.pictures import render_mistakes, render_samples
from pictorch.reporting.records import Records, read_records
from pictorch.reporting.setting import (
    render_data,
    render_environment,
    render_layers,
    render_recipe,
)
from pictorch.reporting.style import STYLE
from pictorch.run_folder import RunFolder

SECTIONS: dict[str, Callable[[Records], Markup]] = {
    "Result": render_headline,
    "Curves": render_curves,
    "Confusion": render_confusion,
    "Classes": render_class_table,
    "Mistakes": render_mistakes,
    "Samples": render_samples,
    "Data": render_data,
    "Epochs": render_epochs,
    "Layers": render_layers,
    "Recipe": render_recipe,
    "Environment": render_environment,
}

# The page may show its own pictures and style and load or run nothing, whatever the texts in it hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report(run: str | Path) -> Path:
    """Writes the page of the run at this path and returns where it lies.

    Raises CheckpointError when there is no run, ResourceError when the page cannot be written.
    """
    return render_report(RunFolder.open(run))


def render_report(run: RunFolder) -> Path:
    """Writes the page of a run, finished or not, over the one from before; returns where it lies."""
    durable.write_bytes(run.report_path, page(read_records(run)).encode())
    return run.report_path


def page(records: Records) -> str:
    """Returns the whole HTML page, which needs no other file and no network."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title(records)),
        element("link", rel="icon", href="data:,"),
        element("style", STYLE),
    )
    links = (element("a", name, href=f"#{name.lower()}") for name in SECTIONS)
    sections = (
        element("section", element("h2", name), render(records), id=name.lower())
        for name, render in SECTIONS.items()
    )
    body = element(
        "body",
        element("main", render_head(records), element("nav", *links, aria_label="Sections"), *sections),
    )
    return group(Markup("<!doctype html>\n"), element("html", head, body, lang="en"), "\n")
