"""Line charts as inline SVG: axes, round ticks, the values for hover, and a legend that may wrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from pictorch.markup import Content, Markup, element

MOST_DOTS = 12
MOST_POINTS = 800

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """The size of a drawing and the margins around its axes, in the drawing's own units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


LARGE = Frame(420, 240, 50, 14, 18, 40)
MEDIUM = Frame(300, 200, 56, 10, 18, 36)
SMALL = Frame(220, 134, 38, 8, 8, 20)


@dataclass(frozen=True)
class Series:
    """One line: its name in the legend, its points from left to right, and its style.

    `style` is 'first' (the one to look at), 'second' (neutral), 'third' (dashed) or 'faint' (thin,
    behind the others).
    """

    name: str
    points: Sequence[Point]
    style: str = "first"


@dataclass(frozen=True)
class Axes:
    """Where values lie on the drawing."""

    frame: Frame
    x_ticks: list[float]
    y_ticks: list[float]
    x_end: float

    def x(self, value: float) -> float:
        """Returns the horizontal place of a value; the axis begins at 0."""
        frame = self.frame
        return round(frame.left + value / self.x_end * (frame.width - frame.left - frame.right), 1)

    def y(self, value: float) -> float:
        """Returns the vertical place of a value; one outside the axis lies on its edge."""
        frame, low, high = self.frame, self.y_ticks[0], self.y_ticks[-1]
        depth = (high - min(high, max(low, value))) / (high - low)
        return round(frame.top + depth * (frame.height - frame.top - frame.bottom), 1)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    x_end: float,
    y_text: Callable[[float], str],
    from_zero: bool,
    mark: float | None = None,
    frame: Frame = LARGE,
    small_range: tuple[float, float] | None = None,
) -> Markup:
    """Returns a figure with the series that have points; `y_text` prints a value of the y axis.

    The x axis goes from 0 to `x_end`; `mark` is the place on it of a dashed line called 'best'.
    `small_range` makes it one of many small ones, which share these ends of the y axis and a legend.
    """
    drawn = [one for one in series if one.points]
    if small_range is None:
        axes = _axes(frame, drawn, x_end, from_zero)
        caption: Content = legend(drawn, y_text)
    else:
        axes = Axes(SMALL, [0, x_end], list(small_range), x_end)
        caption = element("span", y_text(drawn[0].points[-1][1]), class_="key")
    spoken = "; ".join(
        f"{one.name} from {y_text(one.points[0][1])} to {y_text(one.points[-1][1])}" for one in drawn
    )
    drawing = element(
        "svg",
        *_grid(axes, x_label if small_range is None else None, y_text),
        _mark(axes, mark, named=small_range is None) if mark is not None else None,
        *(_line(axes, one, y_text) for one in drawn),
        viewBox=f"0 0 {axes.frame.width} {axes.frame.height}",
        role="img",
        aria_label=f"{title} over {x_label}: {spoken}",
    )
    return element(
        "figure",
        element("figcaption", element("strong", element("bdi", title)), caption),
        element("div", drawing, class_="plot", data_title=title, data_x=x_label),
        class_="chart",
    )


def legend(series: Sequence[Series], y_text: Callable[[float], str] | None = None) -> Markup:
    """Returns the names of the lines beside their strokes, with their last values where `y_text` is given.

    A line that is alone has its name above it already, so its last value is enough.
    """
    if y_text is not None and len(series) == 1 and series[0].style != "faint":
        return element("span", f"last {y_text(series[0].points[-1][1])}", class_="key")
    return element(
        "span",
        *(
            element(
                "span",
                element("span", class_=f"swatch {one.style}"),
                one.name
                if y_text is None or one.style == "faint"
                else f"{one.name}, last {y_text(one.points[-1][1])}",
                class_="key",
            )
            for one in series
        ),
        class_="legend",
    )


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


def _axes(frame: Frame, series: Sequence[Series], x_end: float, from_zero: bool) -> Axes:
    values = [y for one in series for _, y in one.points]
    lowest = min(0.0, *values) if from_zero else min(values)
    x_ticks = [tick for tick in ticks(0, x_end, whole=x_end >= 1) if tick <= x_end]
    return Axes(frame, x_ticks, ticks(lowest, max(values)), x_end)


def _grid(axes: Axes, x_label: str | None, y_text: Callable[[float], str]) -> list[Markup]:
    frame = axes.frame
    right, bottom = frame.width - frame.right, frame.height - frame.bottom
    parts = []
    for tick in axes.y_ticks:
        y = axes.y(tick)
        kind = "axis" if y == bottom else "grid"
        parts.append(element("line", class_=kind, x1=frame.left, x2=right, y1=y, y2=y))
        parts.append(element("text", y_text(tick), x=frame.left - 7, y=y + 4, text_anchor="end"))
    for tick in axes.x_ticks:
        x, anchor = axes.x(tick), "end" if x_label is None and tick else "middle"
        parts.append(element("text", f"{tick:,.10g}", x=x, y=bottom + 16, text_anchor=anchor))
    if x_label:
        parts.append(
            element("text", x_label, x=(frame.left + right) / 2, y=frame.height - 6, text_anchor="middle")
        )
    return parts


def _mark(axes: Axes, at: float, *, named: bool) -> Markup:
    x, frame = axes.x(at), axes.frame
    return element(
        "g",
        element("line", class_="mark", x1=x, x2=x, y1=frame.top, y2=frame.height - frame.bottom),
        element("text", "best", x=x, y=frame.top - 6, text_anchor="middle") if named else None,
    )


def _line(axes: Axes, series: Series, y_text: Callable[[float], str]) -> Markup:
    points = thinned(series.points)
    places = [(axes.x(x), axes.y(y)) for x, y in points]
    dots = [
        element("circle", element("title", f"{series.name}: {y_text(y)} at {x:,.4g}"), cx=left, cy=top, r=2.5)
        for (left, top), (x, y) in zip(places, points, strict=True)
    ]
    dotted = len(points) == 1 or (len(points) <= MOST_DOTS and series.style == "first")
    return element(
        "g",
        element(
            "path",
            d="M" + "L".join(f"{left:g} {top:g}" for left, top in places),
            data_name=series.name,
            data_x="|".join(f"{x:.5g}" for x, _ in points),
            data_y="|".join(y_text(y) for _, y in points),
        ),
        *(dots if dotted else []),
        class_=f"line {series.style}",
    )
