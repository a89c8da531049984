"""How results look in a notebook: small HTML cards that take the colours of the page around them.

A result says `def _repr_html_(self) -> str: return card(title, ...)` with the parts below. Nothing here
needs a script, and every value is escaped.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pictorch import formats
from pictorch.markup import Content, Markup, element, table

_STYLE = (
    ".pictorch{max-width:56rem}.pictorch table{border-collapse:collapse;margin:.4em 0}"
    ".pictorch th,.pictorch td{text-align:left;padding:.1em .9em .1em 0}.pictorch th{font-weight:600}"
    ".pictorch .number{text-align:right;font-variant-numeric:tabular-nums}"
    ".pictorch .box{max-height:24em;overflow:auto}"
    ".pictorch .side{display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start}"
    ".pictorch figure{margin:0}.pictorch figcaption{opacity:.75;font-size:.9em}"
    ".pictorch svg{display:block;max-width:100%}"
)
_WIDTH, _HEIGHT = 260, 72


def card(title: str, *parts: Content) -> Markup:
    """Returns a result's HTML: its title and its parts, for `_repr_html_`."""
    return element(
        "div", element("style", _STYLE), element("p", element("strong", title)), *parts, class_="pictorch"
    )


def facts(values: Mapping[str, Any]) -> Markup:
    """Returns names with their values, one a line; None is left out."""
    rows = [
        element("tr", element("th", name, scope="row"), element("td", _cell(value)))
        for name, value in values.items()
        if value is not None
    ]
    return element("table", element("tbody", *rows))


def rows(label: str, records: Iterable[Mapping[str, Any]], *, left: Sequence[str] = ()) -> Markup:
    """Returns records with the same keys as a table; `left` names the columns that hold words."""
    kept = list(records)
    heads = list(kept[0]) if kept else []
    numeric = [column for column, head in enumerate(heads) if head not in left]
    return table(label, heads, [[_cell(one[head]) for head in heads] for one in kept], numeric=numeric)


def accuracy(fraction: float, interval: Sequence[float], n: int) -> str:
    """Returns an accuracy as it is always told: with its 95 % interval and n."""
    low, high = interval
    return f"{formats.percent(fraction)} (95 % {formats.percent_range(low, high)}, n = {formats.count(n)})"


def bars(values: Iterable[tuple[str, float]]) -> Markup:
    """Returns named fractions from 0 to 1 as bars."""
    return element("table", element("tbody", *(_bar(name, fraction) for name, fraction in values)))


def curve(title: str, values: Sequence[float | None]) -> Markup | None:
    """Returns a small line over the epochs, its last value in words; None with fewer than two values."""
    points = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(points) < 2:
        return None
    low, high = min(value for _, value in points), max(value for _, value in points)
    drawn = " ".join(
        f"{2 + (_WIDTH - 4) * place / (len(values) - 1):.1f},"
        f"{_HEIGHT - 2 - (_HEIGHT - 4) * ((value - low) / (high - low) if high > low else 0.5):.1f}"
        for place, value in points
    )
    said = f"{title}: {points[0][1]:.4g} to {points[-1][1]:.4g} in {len(values)} epochs"
    line = element("polyline", points=drawn, fill="none", stroke="currentColor", stroke_width=1.5)
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    drawing = element("svg", line, width=_WIDTH, height=_HEIGHT, viewBox=box, role="img", aria_label=said)
    return element("figure", drawing, element("figcaption", said))


def side_by_side(*parts: Markup | None) -> Markup:
    """Returns the parts next to each other where the page is wide enough."""
    return element("div", *parts, class_="side")


def picture(png: bytes, alt: str, *, side: int | None = None) -> Markup:
    """Returns a PNG inside the page, in its own size or as a square of `side` pixels."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    style = "max-width:100%;image-rendering:pixelated" if side else "max-width:100%"
    return element("img", src=source, alt=alt, width=side, height=side, style=style)


def _bar(name: str, fraction: float) -> Markup:
    style = f"width:{120 * fraction:.0f}px;height:.7em;background:currentColor;opacity:.6"
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", element("div", style=style), width=120),
        element("td", formats.percent(fraction), class_="number"),
    )


def _cell(value: Any) -> Content:
    return value if isinstance(value, str) else formats.plain(value)
