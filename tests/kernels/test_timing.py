"""What other programs take of the CPUs meanwhile, from clocks that are given."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from pictorch.kernels import timing
from pictorch.kernels.timing import Crowd


def clock(*values: float | None) -> Callable[[], float | None]:
    found: Iterator[float | None] = iter(values)
    return lambda: next(found)


@pytest.mark.parametrize(
    ("threads", "worked", "expected"),
    [
        (4, 30.0, 0.0),  # of 10 seconds on 4 CPUs, all computed by this process
        (4, 42.0, 1.2),  # others computed 12 seconds
        (3, 42.0, 0.2),  # of which 10 on the CPU that it left free
        (3, 36.0, 0.0),
        (8, 42.0, 1.2),
        (4, 29.9, 0.0),  # clocks of different grain
        (4, None, 0.0),
    ],
)
def test_others_count_beyond_the_cpus_that_are_left_free(
    monkeypatch: pytest.MonkeyPatch, threads: int, worked: float | None, expected: float
) -> None:
    clocks = SimpleNamespace(perf_counter=clock(5.0, 15.0), process_time=clock(1.0, 31.0))
    monkeypatch.setattr(timing, "time", clocks)
    monkeypatch.setattr(
        timing, "worked_seconds", clock(None if worked is None else 100.0, worked and 100.0 + worked)
    )
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert Crowd(threads).taken_cpus() == pytest.approx(expected)
