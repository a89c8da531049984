"""Puts the page together and writes it."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from pictorch import durable
from pictorch.markup import Markup, element, group
from pictorch.reporting.classes import render_classes
from pictorch.reporting.confusion import render_confusion
from pictorch.reporting.headline import render_headline, title
from pictorch.reporting.learning import render_curves, render_epochs
from pictorch.reporting.pictures import render_hits, render_mistakes, render_samples
from pictorch.reporting.records import Records, read_records
from pictorch.reporting.setting import (
    render_data,
    render_environment,
    render_layers,
    render_recipe,
)
from pictorch.run_folder import RunFolder

SECTIONS: dict[str, tuple[str, Callable[[Records], Markup]]] = {
    "Curves": ("How it learned", render_curves),
    "Classes": ("Class by class", render_classes),
    "Confusion": ("What is taken for what", render_confusion),
    "Mistakes": ("The most confident mistakes", render_mistakes),
    "Hits": ("The least certain hits", render_hits),
    "Samples": ("What training looks at", render_samples),
    "Data": ("The data", render_data),
    "Epochs": ("Time, memory and every epoch", render_epochs),
    "Layers": ("The network, layer by layer", render_layers),
    "Recipe": ("The recipe", render_recipe),
    "Environment": ("Where it ran", render_environment),
}


def report(run: str | Path) -> Path:
    """Writes the page of the run at this path and returns where it lies.

    Raises CheckpointError when there is no run, ResourceError when the page cannot be written.
    """
    return render_report(RunFolder.open(run))


def render_report(run: RunFolder) -> Path:
    """Writes the page of a run, finished or not, over the one from before; returns where it lies."""
    durable.write_bytes(run.report_path, page(read_records(run)).encode(errors="backslashreplace"))
    return run.report_path


def page(records: Records) -> str:
    """Returns the whole HTML page, which needs no other file and no network."""
    style, script = _own("page.css"), _own("page.js")
    # The page may show its own pictures and style and run its own script, whatever the texts in it hold.
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title(records)),
        element("link", rel="icon", href="data:,"),
        element("style", style),
    )
    links = (element("a", name, href=f"#{name.lower()}") for name in ("Result", *SECTIONS))
    sections = (
        element("section", element("h2", heading), render(records), id=name.lower())
        for name, (heading, render) in SECTIONS.items()
    )
    body = element(
        "body",
        element("a", "Skip to the result", href="#result", class_="skip"),
        element(
            "header",
            element("span", element("b", "pictorch"), " run report"),
            element("button", "Dark", type="button", id="theme", hidden=""),
            class_="top",
        ),
        element(
            "main",
            element("section", render_headline(records), id="result", tabindex=-1),
            element("nav", *links, aria_label="Sections"),
            *sections,
        ),
        element("div", id="tip", aria_hidden="true", hidden=""),
        element("script", script),
    )
    return group(Markup("<!doctype html>\n"), element("html", head, body, lang="en"), "\n")


def _own(name: str) -> Markup:
    return Markup(files("pictorch.reporting").joinpath(name).read_text("utf-8"))
