"""HTML from values: every string is escaped unless it was made here."""

import html
from collections.abc import Iterable, Sequence

_VOID = {"meta", "link", "img", "br", "input"}
_CONTROL_CODES = (*range(9), *range(11, 32), *range(127, 160))
_UNPRINTABLE = dict.fromkeys(_CONTROL_CODES, "\N{REPLACEMENT CHARACTER}")


class Markup(str):
    """Text that is HTML already; only this file makes it."""

    __slots__ = ()


Content = str | int | None


def text(value: str) -> Markup:
    """Returns a string as HTML that shows it, whatever it holds."""
    return Markup(html.escape(value.translate(_UNPRINTABLE)))


def element(name: str, /, *children: Content, **attributes: str | float | None) -> Markup:
    """Returns an element; None among children or attributes is left out.

    Attribute names are written with `_` for `-` and a last `_` where Python reserves the word.
    """
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{group(*children)}</{name}>")


def group(*children: Content) -> Markup:
    """Returns the children one after the other, without an element around them."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else text(str(child))
            for child in children
            if child is not None
        )
    )


def table(
    label: str,
    heads: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    numeric: Sequence[int] = (),
    foot: Sequence[Content] | None = None,
    sortable: bool = False,
) -> Markup:
    """Returns a table in a box of its own, which scrolls where the table is wide or long.

    `numeric` holds the numbers of the columns that are set right; the first cell names its row. A
    page with a script may let the reader sort a `sortable` one.
    """

    def cells(row: Sequence[Content]) -> Markup:
        return element(
            "tr",
            *(
                element("td", cell, class_="number" if column in numeric else None)
                if column
                else element("th", cell, scope="row", class_="number" if 0 in numeric else None)
                for column, cell in enumerate(row)
            ),
        )

    header = element(
        "tr",
        *(
            element("th", head, scope="col", class_="number" if column in numeric else None)
            for column, head in enumerate(heads)
        ),
    )
    return scroll_box(
        label,
        element(
            "table",
            element("thead", header),
            element("tbody", *(cells(row) for row in rows)),
            element("tfoot", cells(foot)) if foot is not None else None,
            class_="sortable" if sortable else None,
        ),
    )


def scroll_box(label: str, content: Markup) -> Markup:
    """Returns a region that scrolls by itself, by keyboard too, so that the page never does sideways."""
    return element("div", content, class_="box", role="region", aria_label=label, tabindex=0)


def missing(what: str, command: str | None = None) -> Markup:
    """Returns the line that says what is not there, and which command makes it."""
    hint = group(" Run: ", element("code", command)) if command else None
    return element("p", what, hint, class_="missing")
