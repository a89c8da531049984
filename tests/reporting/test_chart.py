"""Charts: round ticks, points at their places, spikes that survive thinning."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.reporting.chart import LARGE, MOST_POINTS, Series, line_chart, thinned, ticks

values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


def chart(*series: Series, from_zero: bool = True, mark: float | None = None) -> str:
    return line_chart("T", series, x_label="epoch", x_end=4, y_text=str, from_zero=from_zero, mark=mark)


@given(values, values)
@settings(deadline=None)
def test_ticks_cover_the_range_evenly(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    step = found[1] - found[0]
    assert 2 <= len(found) <= 7
    assert found[0] <= low + 1e-6 * step
    assert found[-1] >= high - 1e-6 * step
    assert [b - a for a, b in pairwise(found)] == pytest.approx([step] * (len(found) - 1))
    assert f"{step:.0e}"[0] in "125"


@given(st.integers(1, 10_000))
@settings(deadline=None)
def test_whole_ticks_are_integers(high: int) -> None:
    assert all(tick == int(tick) for tick in ticks(0, high, whole=True))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.0005, [0, 0.0001, 0.0002, 0.0003, 0.0004, 0.0005]),
        (0.31, 0.94, [0.2, 0.4, 0.6, 0.8, 1]),
        (3, 3, [3, 4]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_points_lie_where_they_belong() -> None:
    html = chart(Series("loss", [(1, 0.0), (2, 5.0), (4, 10.0)]))
    match = re.search(r'<path d="M([\d. L]+)"', html)
    assert match
    points = [tuple(map(float, pair.split())) for pair in match[1].split("L")]
    (x1, y1), (x2, y2), (x4, y4) = points
    assert x4 - x2 == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert y1 > y4, "larger values lie higher, and SVG counts downward"
    assert y1 - y2 == pytest.approx(y2 - y4, abs=0.2)
    assert all(0 <= x <= LARGE.width and 0 <= y <= LARGE.height for x, y in points)
    assert 'data-y="0.0|5.0|10.0"' in html
    assert "last 10.0" in html


def test_one_point_alone_is_seen() -> None:
    html = chart(Series("loss", [(1, 0.25)]), from_zero=False)
    assert html.count("<circle") == 1
    assert "loss: 0.25 at 1" in html


def test_series_without_points_stay_out_of_the_legend() -> None:
    html = chart(Series("training", [(1, 1.0)]), Series("validation", [], "second"), mark=1)
    assert "validation" not in html
    assert ">best<" in html


def test_thinning_keeps_spikes_and_order() -> None:
    points = [(float(x), 0.0) for x in range(50_000)]
    points[12_345] = (12_345.0, 9.0)
    points[40_001] = (40_001.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert kept == sorted(kept)
    assert {(12_345.0, 9.0), (40_001.0, -9.0)} <= set(kept)


def test_few_points_are_all_drawn() -> None:
    points = [(float(x), float(x % 3)) for x in range(MOST_POINTS)]
    assert thinned(points) == points


def test_a_value_outside_the_axis_lies_on_its_edge_and_is_told_as_it_is() -> None:
    series = [Series("F1", [(0, 0.25), (1, 0.4), (2, 0.7), (3, 1.0), (4, 1.5)])]
    html = line_chart(
        "cat", series, x_label="epoch", x_end=4, y_text=str, from_zero=False, small_range=(0.4, 1.0)
    )
    (path,) = re.findall(r'<path d="M([\d. L]+)"', html)
    below, low, middle, high, above = (float(pair.split()[1]) for pair in path.split("L"))
    assert (below, above) == (low, high)
    assert low > middle > high
    assert 'data-y="0.25|0.4|0.7|1.0|1.5"' in html
