"""The graph of a network as an SVG drawing: a box for each layer, from top to bottom, and its edges."""

from collections.abc import Sequence
from unicodedata import east_asian_width

from pictorch.markup import Markup, element, group
from pictorch.networks.graph import GraphNode

_CHARACTER = 7.5  # the widest character of a monospace font of 12 pixels, and a little
_PADDING, _BOX_HEIGHT, _GAP, _LANE, _MARGIN = 12, 40, 16, 12, 24
_TITLE_HEIGHT = 56
_COLUMN_GAP = 3  # characters between what stands left and right in a box

# What a part of a kind's name says of the box's colour; the first that fits.
_COLORS = {
    "conv": "convolution", "linear": "linear", "norm": "norm", "pool": "pool",
    "uint8": "images", "dropout": "quiet", "identity": "quiet", "flatten": "quiet",
}  # fmt: skip
_STYLE = """
svg{--paper:#fff;--ink:#111827;--muted:#6b7280;--box:#f9fafb;--line:#9ca3af;
--convolution:#2563eb;--linear:#7c3aed;--norm:#0d9488;--pool:#d97706;--other:#6b7280;
--images:#db2777;--quiet:#d1d5db}
@media (prefers-color-scheme:dark){svg{--paper:#111827;--ink:#f3f4f6;--muted:#9ca3af;--box:#1f2937;
--line:#6b7280;--convolution:#60a5fa;--linear:#a78bfa;--norm:#2dd4bf;--pool:#fbbf24;--other:#9ca3af;
--images:#f472b6;--quiet:#4b5563}}
text{font:12px ui-monospace,'DejaVu Sans Mono','Liberation Mono',Menlo,monospace;fill:var(--ink)}
.muted{fill:var(--muted)}.title{font-weight:700}.end{text-anchor:end}.paper{fill:var(--paper)}
.box{fill:var(--box);stroke:var(--line)}.edge{fill:none;stroke:var(--line);stroke-width:1.5}.head{fill:var(--line)}
.convolution{fill:var(--convolution)}.linear{fill:var(--linear)}.norm{fill:var(--norm)}.pool{fill:var(--pool)}
.other{fill:var(--other)}.images{fill:var(--images)}.quiet{fill:var(--quiet)}
"""


def draw_graph(title: str, about: str, nodes: Sequence[GraphNode]) -> str:
    """Returns the SVG file of a graph: every node with name, kind, output shape and parameters.

    An edge to the next box is an arrow between them. Any others from a box run right of the boxes, in one
    lane that they share with none that they would touch.
    """
    jumps: dict[int, list[int]] = {}
    for target, node in enumerate(nodes):
        for source in node.inputs:
            if target - source > 1:
                jumps.setdefault(source, []).append(target)
    lanes = _lanes(jumps)
    texts = [_texts(node) for node in nodes]
    columns = max(_columns(left) + _columns(right) for rows in texts for left, right in rows)
    box_width = 2 * _PADDING + (columns + _COLUMN_GAP) * _CHARACTER
    lanes_width = (1 + max(lanes.values(), default=-1)) * _LANE + _LANE
    heading = max(map(_columns, (title, about))) * _CHARACTER
    width = round(2 * _MARGIN + max(heading, box_width + lanes_width))
    height = _top(len(nodes)) - _GAP + _MARGIN
    drawing = element(
        "svg",
        element("title", f"{title}: {about}"),
        element("style", _STYLE),
        element("rect", width=width, height=height, class_="paper"),
        element("text", title, x=_MARGIN, y=_MARGIN + 6, class_="title"),
        element("text", about, x=_MARGIN, y=_MARGIN + 24, class_="muted"),
        *(_edge(source, target, lanes[source], box_width) for source in jumps for target in jumps[source]),
        *(_arrow(place, box_width) for place in range(1, len(nodes)) if place - 1 in nodes[place].inputs),
        *(_box(place, node, texts[place], box_width) for place, node in enumerate(nodes)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
    )
    return f"{drawing}\n"


def _columns(line: str) -> int:
    """Returns how many characters wide a line is; those of Chinese and the like are twice as wide."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in line)


def _texts(node: GraphNode) -> tuple[tuple[str, str], tuple[str, str]]:
    shape = " x ".join(map(str, node.output_shape))
    parameters = f"{node.parameters:,} parameters" if node.parameters else ""
    return (node.name, shape), (node.kind, parameters)


def _lanes(jumps: dict[int, list[int]]) -> dict[int, int]:
    """Returns the lane of the edges from each box; lanes count from the boxes to the right.

    The shortest come first, so that those inside a block lie inside those around it.
    """
    taken: list[list[int]] = []  # of each lane the boxes whose edges run in it
    lanes = {}
    for source in sorted(jumps, key=lambda source: (max(jumps[source]) - source, source)):
        end = max(jumps[source])
        fits = (all(max(jumps[other]) <= source or end <= other for other in lane) for lane in taken)
        lanes[source] = next((number for number, is_free in enumerate(fits) if is_free), len(taken))
        taken += [[]] if lanes[source] == len(taken) else []
        taken[lanes[source]].append(source)
    return lanes


def _top(place: int) -> int:
    return _MARGIN + _TITLE_HEIGHT + place * (_BOX_HEIGHT + _GAP)


def _box(place: int, node: GraphNode, texts: Sequence[tuple[str, str]], width: float) -> Markup:
    top, kind = _top(place), node.kind.lower()
    color = next((color for part, color in _COLORS.items() if part in kind), "other")
    lines = (
        element("text", content, x=x, y=y, class_=style)
        for (left, right), y, muted in zip(texts, (top + 17, top + 33), ("", "muted"), strict=True)
        for content, x, style in (
            (left, _MARGIN + _PADDING, muted),
            (right, _MARGIN + width - _PADDING, f"{muted} end".strip()),
        )
        if content
    )
    return group(
        element("rect", x=_MARGIN, y=top, width=width, height=_BOX_HEIGHT, rx=4, class_="box"),
        element("rect", x=_MARGIN, y=top, width=4, height=_BOX_HEIGHT, rx=2, class_=color),
        *lines,
    )


def _arrow(place: int, width: float) -> Markup:
    """Returns the arrow from the box before a place to the one there."""
    x, bottom = _MARGIN + width / 2, _top(place)
    return group(
        element("path", d=f"M{x:g} {bottom - _GAP}V{bottom - 5}", class_="edge"),
        element("path", d=f"M{x:g} {bottom}l-4 -6h8z", class_="head"),
    )


def _edge(source: int, target: int, lane: int, width: float) -> Markup:
    """Returns an edge in its lane; it leaves below the middle of a box and arrives above that of another."""
    left, x = _MARGIN + width, _MARGIN + width + _LANE * (lane + 1)
    leaves, arrives = _top(source) + _BOX_HEIGHT - 10, _top(target) + 10
    path = f"M{left:g} {leaves}H{x - 4:g}q4 0 4 4V{arrives - 4}q0 4 -4 4H{left + 5:g}"
    return group(
        element("path", d=path, class_="edge"),
        element("path", d=f"M{left:g} {arrives}l6 -4v8z", class_="head"),
    )
