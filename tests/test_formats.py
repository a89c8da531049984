"""Printed numbers: percent from fractions, separators, units."""

import pytest

from pictorch import formats


def test_fractions_print_as_percent() -> None:
    assert formats.percent(0.88314) == "88.31 %"
    assert formats.percent(1.0, 1) == "100.0 %"
    assert formats.percent_range(0.0, 0.27753) == "0.00–27.75 %"


def test_counts_and_gaps() -> None:
    assert formats.count(45_000) == "45,000"
    assert formats.count(0) == "0"
    assert formats.count(None) == "–"
    assert formats.decimal(None) == "–"
    assert formats.megabytes(1_234_567_890) == "1,235 MB"


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0, "0"), (999, "999"), (25_578, "25.6 k"), (2_168_746, "2.17 M"), (4.1e9, "4.1 G")],
)
def test_short_counts(value: float, printed: str) -> None:
    assert formats.short_count(value) == printed


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (0, "0.0 s"),
        (4.25, "4.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (195.75, "3 min 16 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7679.4, "2 h 07 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, printed: str) -> None:
    assert formats.duration(seconds) == printed


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (-3, "0 s"),
        (41.4, "41 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5400, "2 h"),
        (86_400, "24 h"),
        (2e5, "2 days"),
    ],
)
def test_ages(seconds: float, printed: str) -> None:
    assert formats.age(seconds) == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, "null"),
        (True, "true"),
        (1e-05, "1e-05"),
        ((0.9, 0.999), "[0.9, 0.999]"),
        ({"a": 1, "b": None}, "a 1, b null"),
        ("auto", "auto"),
    ],
)
def test_recipe_values_print_as_yaml_would(value: object, printed: str) -> None:
    assert formats.plain(value) == printed
