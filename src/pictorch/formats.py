"""How numbers are printed: fractions as percent, counts with separators, times in plain units."""

from typing import Any


def percent(fraction: float, decimals: int = 2) -> str:
    """Returns '88.31 %' for 0.8831."""
    return f"{fraction * 100:.{decimals}f} %"


def percent_range(low: float, high: float) -> str:
    """Returns '87.66–88.93 %' for the interval."""
    return f"{low * 100:.2f}–{high * 100:.2f} %"


def decimal(value: float | None, decimals: int = 4) -> str:
    """Returns the number with fixed decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{decimals}f}"


def count(value: float | None) -> str:
    """Returns '45,000' for 45000, a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}"


def short_count(value: float) -> str:
    """Returns '2.17 M' for 2168746."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Returns '1 h 02 min', '3 min 05 s', '41 s' or '4.2 s'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def age(seconds: float) -> str:
    """Returns '3 days', '5 h', '12 min' or '41 s' for how long ago something was."""
    for unit_seconds, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit_seconds:
            return f"{seconds / unit_seconds:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def megabytes(size_bytes: float | None) -> str:
    """Returns '1,234 MB' (10^6 bytes), a dash where there is none."""
    return "–" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"


def plain(value: Any) -> str:
    """Returns a recipe or environment value as YAML would show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return str(value)
