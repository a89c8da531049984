"""What the figures of a comparison advise, by a rule that is printed with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from pictorch.formats import percent

EDGE_POINTS = 0.15

RULE = (
    f"rule: edge, the smallest ONNX file among the networks within {100 * EDGE_POINTS:.0f} points of the "
    "best accuracy; server, the best accuracy"
)


@dataclass(frozen=True)
class Candidate:
    """What the rule looks at; the accuracy is a fraction, the interval that of 95 %."""

    name: str
    accuracy: float
    interval: tuple[float, float]
    onnx_bytes: int
    latency_seconds: float


def advice(candidates: Sequence[Candidate]) -> str:
    """Returns one line: which network to take at the edge and on a server. Equal ones: the faster."""
    if not candidates:
        return "no advice: no network was measured"
    best = min(candidates, key=lambda one: (-one.accuracy, one.latency_seconds))
    near = [one for one in candidates if one.accuracy >= best.accuracy - EDGE_POINTS]
    small = min(near, key=lambda one: (one.onnx_bytes, one.latency_seconds))
    rivals = [one.name for one in candidates if one is not best and one.interval[1] >= best.interval[0]]
    doubt = f"; its interval does not tell it from {', '.join(rivals)}" if rivals else ""
    figures = f"{small.onnx_bytes / 1e6:.2f} MB, {1e3 * small.latency_seconds:.2f} ms"
    if small is best:
        return f"edge and server: {best.name} ({figures}, {percent(best.accuracy, 1)}{doubt})"
    return (
        f"edge: {small.name} ({figures}, {percent(small.accuracy, 1)}); "
        f"server: {best.name} ({percent(best.accuracy, 1)}{doubt})"
    )
