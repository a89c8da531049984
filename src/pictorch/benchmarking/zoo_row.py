"""A network's row in the comparison: its figures over all seeds, and how they are shown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pictorch.benchmarking.advice import Candidate
from pictorch.benchmarking.latency import Speed
from pictorch.formats import count, duration, megabytes, percent, percent_range, short_count
from pictorch.metrics.interval import mean_interval

_HEADS = (
    "parameters", "multiply-adds", "test accuracy", "95 % interval", "training", "images/s",
    "ONNX", "one image", "answers/s", "memory",
)  # fmt: skip


@dataclass(frozen=True)
class ZooRow:
    """A network's figures, means over its seeds; None is what there is not. Fractions, seconds, bytes.

    `interval_over` is 'seeds' (Student's t) or, of one seed, 'images' (Wilson). The interval is that of
    95 %. `latency_seconds` is for one image with one thread, `answers_per_second` for batches with all.
    """

    network: str
    recipe: str
    seeds: int = 0
    epochs: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    test_accuracy: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    interval_over: str | None = None
    test_n: int | None = None
    training_seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_bytes: int | None = None
    onnx_bytes: int | None = None
    latency_seconds: float | None = None
    answers_per_second: float | None = None
    missing: str | None = None

    def shown(self) -> dict[str, str]:
        """Returns the row as a person reads it, under its heads."""
        if self.test_accuracy is None:
            return {"network": self.network, **dict.fromkeys(_HEADS, "–")}
        cells = (
            short_count(self.parameters or 0),
            short_count(self.multiply_adds or 0),
            percent(self.test_accuracy),
            percent_range(*self.interval),
            duration(self.training_seconds or 0),
            count(self.images_per_second),
            f"{(self.onnx_bytes or 0) / 1e6:.2f} MB",
            f"{1e3 * (self.latency_seconds or 0):.2f} ms",
            count(self.answers_per_second),
            megabytes(self.peak_memory_bytes),
        )
        return {"network": self.network, **dict(zip(_HEADS, cells, strict=True))}

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the accuracy, (0, 1) where nothing is known."""
        return self.interval_low or 0.0, 1.0 if self.interval_high is None else self.interval_high

    @property
    def candidate(self) -> Candidate:
        """What the advice looks at."""
        return Candidate(
            self.network,
            self.test_accuracy or 0.0,
            self.interval,
            self.onnx_bytes or 0,
            self.latency_seconds or 0.0,
        )


def row_of(
    network: str, recipe: str, found: Sequence[dict[str, Any]], speed: Speed | None, missing: str | None
) -> ZooRow:
    """Returns the row of a network from the figures of its runs; `missing` says which run there is not."""
    if not found or speed is None:
        return ZooRow(network, recipe, missing=missing)
    accuracies = [one["test_accuracy"] for one in found]
    low, high = mean_interval(accuracies) if len(found) > 1 else found[0]["test_interval_95"]

    def mean(key: str) -> float:
        return float(statistics.mean(one[key] for one in found))

    return ZooRow(
        network=network,
        recipe=recipe,
        seeds=len(found),
        epochs=mean("epochs"),
        parameters=found[0]["parameters"],
        multiply_adds=found[0]["multiply_adds"],
        test_accuracy=statistics.mean(accuracies),
        interval_low=max(0.0, low),
        interval_high=min(1.0, high),
        interval_over="seeds" if len(found) > 1 else "images",
        test_n=found[0]["test_n"],
        training_seconds=mean("training_seconds"),
        images_per_second=mean("images_per_second"),
        peak_memory_bytes=max(one["peak_memory_bytes"] for one in found),
        onnx_bytes=found[0]["onnx_bytes"],
        latency_seconds=speed.latency_seconds,
        answers_per_second=speed.images_per_second,
        missing=missing,
    )
