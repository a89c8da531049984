"""The line of advice: which network the rule names, from made figures."""

from dataclasses import replace

from pictorch.benchmarking.advice import EDGE_POINTS, Candidate, advice

SMALL = Candidate("small", 0.762, (0.758, 0.766), 106_000, 5e-5)
MIDDLE = Candidate("middle", 0.75, (0.74, 0.76), 252_000, 4e-5)
LARGE = Candidate("large", 0.885, (0.88, 0.89), 8_680_000, 5e-4)


def test_the_smallest_near_the_best_and_the_best() -> None:
    said = advice([MIDDLE, LARGE, SMALL])
    assert said == "edge: small (0.11 MB, 0.05 ms, 76.2 %); server: large (88.5 %)"


def test_it_flips_where_the_figures_do() -> None:
    best = replace(LARGE, accuracy=SMALL.accuracy + EDGE_POINTS + 0.001)
    assert advice([SMALL, MIDDLE, best]).startswith("edge and server: large ("), "no small one is near enough"
    just = replace(LARGE, accuracy=SMALL.accuracy + EDGE_POINTS)
    assert advice([SMALL, MIDDLE, just]).startswith("edge: small (")
    slim = replace(MIDDLE, onnx_bytes=SMALL.onnx_bytes - 1)
    assert advice([SMALL, slim, LARGE]).startswith("edge: middle (")
    grown = replace(SMALL, accuracy=0.9, interval=(0.895, 0.905))
    assert advice([grown, MIDDLE, LARGE]).startswith("edge and server: small (")


def test_equal_networks_are_told_apart_by_speed() -> None:
    twin = replace(SMALL, name="twin", latency_seconds=SMALL.latency_seconds / 2)
    for order in ([SMALL, twin], [twin, SMALL]):
        assert advice(order).startswith("edge and server: twin (")


def test_a_rival_whose_interval_reaches_the_best_is_named() -> None:
    near = replace(MIDDLE, interval=(0.6, LARGE.interval[0]))
    assert advice([near, LARGE]).endswith("server: large (88.5 %; its interval does not tell it from middle)")
    below = replace(near, interval=(0.6, LARGE.interval[0] - 1e-6))
    assert "does not tell" not in advice([below, LARGE])


def test_nothing_measured_advises_nothing() -> None:
    assert advice([]) == "no advice: no network was measured"
