"""The rows of a speedrun: what each seed reached in how many seconds, and all of them together."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from pictorch.formats import count, percent, short_count


@dataclass(frozen=True)
class SeedRow:
    """The figures of a seed: fractions, seconds, bytes; None is what there is not."""

    seed: int
    test_accuracy: float | None = None
    test_accuracy_views: float | None = None
    test_n: int | None = None
    test_openings: int | None = None
    checkpoint: str | None = None
    epochs: float | None = None
    steps: int | None = None
    images: int | None = None
    in_loop_seconds: float | None = None
    total_seconds: float | None = None
    evaluation_seconds: float | None = None
    model_flops: int | None = None
    peak_memory_bytes: int | None = None
    missing: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """Images trained a second in the loop."""
        return self.images / self.in_loop_seconds if self.images and self.in_loop_seconds else None

    def to_json(self) -> dict[str, Any]:
        """Returns the row as the record and the CSV have it."""
        rate = self.images_per_second
        return {**asdict(self), "images_per_second": None if rate is None else round(rate, 1)}

    def shown(self) -> dict[str, str]:
        """Returns the row as a person reads it, under its heads."""
        return {
            "seed": str(self.seed),
            "test accuracy": _percent(self.test_accuracy),
            "with views": _percent(self.test_accuracy_views),
            "in the loop": _seconds(self.in_loop_seconds),
            "whole command": _seconds(self.total_seconds),
            "evaluation": _seconds(self.evaluation_seconds),
            "images/s": count(self.images_per_second),
        }


@dataclass(frozen=True)
class Figure:
    """A quantity over seeds; the standard error is that of the mean, None for one seed."""

    mean: float
    standard_error: float | None
    lowest: float
    highest: float
    n: int

    @staticmethod
    def of(values: Iterable[float | None]) -> "Figure | None":
        """Returns the figure of the values that there are, None where there is none."""
        kept = [value for value in values if value is not None]
        if not kept:
            return None
        error = statistics.stdev(kept) / sqrt(len(kept)) if len(kept) > 1 else None
        return Figure(statistics.mean(kept), error, min(kept), max(kept), len(kept))


@dataclass(frozen=True)
class Summary:
    """All seeds together; shares are fractions, of the seeds or of the machine's measured peak."""

    n: int
    target: float
    views: str
    test_accuracy: Figure | None
    test_accuracy_views: Figure | None
    share_at_target: float | None
    share_at_target_views: float | None
    in_loop_seconds: Figure | None
    total_seconds: Figure | None
    evaluation_seconds: Figure | None
    images_per_second: Figure | None
    model_flops: Figure | None
    peak_flops_per_second: float
    share_of_peak: Figure | None

    def shown(self) -> list[dict[str, str]]:
        """Returns the rows as a person reads them."""
        accuracies = (
            ("test accuracy", self.test_accuracy, self.share_at_target),
            (f"test accuracy, {self.views}", self.test_accuracy_views, self.share_at_target_views),
        )
        rows = []
        for name, figure, share in accuracies:
            rows.append(_shown(name, figure, percent))
            value = "–" if share is None else f"{round(share * self.n)} of {self.n}"
            rows.append({"figure": f"  at or over {percent(self.target, 1)}", "value": value, "range": ""})
        peak = short_count(self.peak_flops_per_second)
        return [
            *rows,
            _shown("in the loop", self.in_loop_seconds, _seconds),
            _shown("whole command", self.total_seconds, _seconds),
            _shown("evaluation", self.evaluation_seconds, _seconds),
            _shown("images/s", self.images_per_second, count),
            _shown("model FLOPs", self.model_flops, short_count),
            _shown(f"share of the peak, {peak}FLOP/s", self.share_of_peak, lambda one: percent(one, 1)),
        ]


def summary_of(rows: Sequence[SeedRow], target: float, peak: float, views: str) -> Summary:
    """Returns what the seeds that were measured say together; `peak` in operations a second."""
    measured = [row for row in rows if row.test_accuracy is not None]
    plain = [row.test_accuracy for row in measured]
    viewed = [row.test_accuracy_views for row in measured]
    shares = [
        row.model_flops / row.in_loop_seconds / peak
        for row in measured
        if row.model_flops and row.in_loop_seconds
    ]
    return Summary(
        n=len(measured),
        target=target,
        views=views,
        test_accuracy=Figure.of(plain),
        test_accuracy_views=Figure.of(viewed),
        share_at_target=_share(plain, target),
        share_at_target_views=_share(viewed, target),
        in_loop_seconds=Figure.of(row.in_loop_seconds for row in measured),
        total_seconds=Figure.of(row.total_seconds for row in measured),
        evaluation_seconds=Figure.of(row.evaluation_seconds for row in measured),
        images_per_second=Figure.of(row.images_per_second for row in measured),
        model_flops=Figure.of(row.model_flops for row in measured),
        peak_flops_per_second=peak,
        share_of_peak=Figure.of(shares),
    )


def _share(accuracies: Sequence[float | None], target: float) -> float | None:
    reached = [accuracy >= target for accuracy in accuracies if accuracy is not None]
    return sum(reached) / len(reached) if reached else None


def _shown(name: str, figure: Figure | None, number: Callable[[float], str]) -> dict[str, str]:
    if figure is None:
        return {"figure": name, "value": "–", "range": "–"}
    error = "" if figure.standard_error is None else f" ± {number(figure.standard_error)}"
    ends = f"{number(figure.lowest)} to {number(figure.highest)}" if figure.n > 1 else ""
    return {"figure": name, "value": f"{number(figure.mean)}{error}", "range": ends}


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:,.2f} s"
