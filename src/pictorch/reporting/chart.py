"""Line charts as inline SVG: axes, round ticks, and a legend in HTML that may wrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from pictorch.markup import Markup, element

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 12, 42
MOST_DOTS = 60
MOST_POINTS = 800

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line: its name in the legend, its points from left to right, and its style.

    `style` is 'first' (solid), 'second' (dashed) or 'faint' (thin, behind the others).
    """

    name: str
    points: Sequence[Point]
    style: str = "first"


@dataclass(frozen=True)
class Axes:
    """Where values lie on the drawing."""

    x_ticks: list[float]
    y_ticks: list[float]
    x_end: float

    def x(self, value: float) -> float:
        """Returns the horizontal place of a value; the axis begins at 0."""
        return round(LEFT + value / self.x_end * (WIDTH - LEFT - RIGHT), 2)

    def y(self, value: float) -> float:
        """Returns the vertical place of a value."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 2)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    x_end: float,
    y_text: Callable[[float], str],
    from_zero: bool,
    mark: float | None = None,
) -> Markup:
    """Returns a figure with the series that have points; `y_text` prints a value of the y axis.

    The x axis goes from 0 to `x_end`; `mark` is the place on it of a dashed line called 'best'.
    """
    drawn = [one for one in series if one.points]
    axes = _axes(drawn, x_end, from_zero)
    caption = element("figcaption", element("strong", title), _legend(drawn, y_text))
    drawing = element(
        "svg",
        *_grid(axes, x_label, y_text),
        _mark(axes, mark) if mark is not None else None,
        *(_line(axes, one, y_text) for one in drawn),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title} over {x_label}",
    )
    return element("figure", caption, drawing, class_="chart")


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Returns two to seven round numbers that reach from `low` or below to `high` or above.

    Steps are 1, 2 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels", 1990);
    `whole` keeps them integers.
    """
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):
        span = abs(high) or 1.0
    rough = span / 5
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first = floor(low / step + 1e-9)
    last = max(ceil(high / step - 1e-9), first + 1)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def thinned(points: Sequence[Point]) -> list[Point]:
    """Returns at most MOST_POINTS points that keep each stretch's lowest and highest value."""
    if len(points) <= MOST_POINTS:
        return list(points)
    num_stretches = MOST_POINTS // 2
    kept: list[Point] = []
    for stretch in range(num_stretches):
        part = points[stretch * len(points) // num_stretches : (stretch + 1) * len(points) // num_stretches]
        kept += sorted({min(part, key=_height), max(part, key=_height)})
    return kept


def _height(point: Point) -> float:
    return point[1]


def _axes(series: Sequence[Series], x_end: float, from_zero: bool) -> Axes:
    values = [y for one in series for _, y in one.points]
    lowest = min(0.0, *values) if from_zero else min(values)
    x_ticks = [tick for tick in ticks(0, x_end, whole=x_end >= 1) if tick <= x_end]
    return Axes(x_ticks, ticks(lowest, max(values)), x_end)


def _grid(axes: Axes, x_label: str, y_text: Callable[[float], str]) -> list[Markup]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in axes.y_ticks:
        y = axes.y(tick)
        parts.append(element("line", class_="grid", x1=LEFT, x2=right, y1=y, y2=y))
        parts.append(element("text", y_text(tick), x=LEFT - 7, y=y + 4, text_anchor="end"))
    for tick in axes.x_ticks:
        x = axes.x(tick)
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        parts.append(element("text", f"{tick:,.10g}", x=x, y=bottom + 18, text_anchor="middle"))
    parts.append(element("line", class_="axis", x1=LEFT, x2=right, y1=bottom, y2=bottom))
    parts.append(element("line", class_="axis", x1=LEFT, x2=LEFT, y1=TOP, y2=bottom))
    middle = (LEFT + right) / 2
    parts.append(element("text", x_label, x=middle, y=HEIGHT - 6, text_anchor="middle"))
    return parts


def _mark(axes: Axes, at: float) -> Markup:
    x = axes.x(at)
    near_right = x > WIDTH / 2
    return element(
        "g",
        element("line", class_="mark", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM),
        element(
            "text",
            "best",
            x=x - 4 if near_right else x + 4,
            y=TOP + 9,
            text_anchor="end" if near_right else "start",
        ),
    )


def _line(axes: Axes, series: Series, y_text: Callable[[float], str]) -> Markup:
    places = [(axes.x(x), axes.y(y), x, y) for x, y in thinned(series.points)]
    path = "M" + "L".join(f"{left:g} {top:g}" for left, top, _, _ in places)
    dotted = len(places) == 1 or (len(places) <= MOST_DOTS and series.style != "faint")
    dots = [
        element("circle", element("title", f"{series.name}: {y_text(y)} at {x:,.4g}"), cx=left, cy=top, r=2.5)
        for left, top, x, y in places
    ]
    return element(
        "g",
        element("path", d=path),
        *(dots if dotted else []),
        class_=f"line {series.style}",
    )


def _legend(series: Sequence[Series], y_text: Callable[[float], str]) -> Markup:
    return element(
        "span",
        *(
            element(
                "span",
                element("span", class_=f"swatch {one.style}"),
                one.name if one.style == "faint" else f"{one.name}, last {y_text(one.points[-1][1])}",
                class_="key",
            )
            for one in series
        ),
        class_="legend",
    )
