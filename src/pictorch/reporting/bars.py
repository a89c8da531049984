"""Bars made of HTML, which scale and print with the text: fractions with intervals, pairs, counts."""

from collections.abc import Sequence

from pictorch import formats
from pictorch.markup import Markup, element


def scale(
    label: str, fraction: float, interval: tuple[float, float], *, baseline: float | None = None
) -> Markup:
    """Returns a bar from 0 to 100 % filled to `fraction`, with its interval as a band.

    `baseline` is what is reached without looking at the pictures; it gets a tick with its name below.
    """
    low, high = interval
    spoken = f"{formats.percent(fraction)}, 95 % interval {formats.percent_range(low, high)}"
    tick = note = None
    if baseline is not None:
        place = f"--at:{baseline:.4f}"
        tick = element("i", class_="tick", style=place)
        note = element("span", f"always the same answer: {formats.percent(baseline, 0)}", style=place)
    return element(
        "div",
        element(
            "div",
            element("i", class_="fill", style=f"--at:{fraction:.4f}"),
            element("i", class_="band", style=f"--low:{low:.4f};--high:{high:.4f}"),
            tick,
            class_="scale",
            role="img",
            aria_label=f"{label}: {spoken}",
        ),
        element("div", note, class_="notes") if note else None,
    )


def span(low: float, one: float, other: float) -> Markup:
    """Returns two values from `low` to 1 as a ring and a dot on a line; the numbers stand beside it."""
    places = [(max(low, value) - low) / (1 - low) for value in (one, other)]
    marks = (
        element("i", class_=kind, style=f"--at:{at:.3f}")
        for kind, at in zip(("ring", "dot"), places, strict=True)
    )
    line = element("i", class_="line", style=f"--low:{min(places):.3f};--high:{max(places):.3f}")
    return element("span", line, *marks, class_="span", aria_hidden="true")


def stack(counts: Sequence[int], largest: int) -> Markup:
    """Returns counts as one bar of coloured parts; the numbers stand beside it, so it is silent."""
    parts = (
        element("i", class_=f"part{place}", style=f"--share:{count / max(1, largest):.4f}")
        for place, count in enumerate(counts)
    )
    return element("span", *parts, class_="stack", aria_hidden="true")
