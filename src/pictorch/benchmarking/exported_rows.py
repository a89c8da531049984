"""The rows of bench export: what a form weighs, how fast and how well it answers, and what that advises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pictorch.benchmarking.serving_rows import milliseconds
from pictorch.bundle.agreement import Agreement, compare
from pictorch.exporting.quantize import FEWEST_EQUAL, MOST_POINTS_LOST
from pictorch.formats import count, percent, percent_range
from pictorch.metrics.interval import wilson_interval

RULE = (
    "Advice by rule: of the files that were run here and lose at most "
    f"{100 * MOST_POINTS_LOST:g} points of the bundle's accuracy (without --data: keep "
    f"{percent(FEWEST_EQUAL, 0)} of its top classes), the smallest for the edge, the one with the most "
    "images/s for a server."
)


@dataclass(frozen=True)
class FormRow:
    """One form of the bundle's model: bytes, seconds, fractions; None is what was not measured, `reason` why.

    The accuracy is that on `n` validation images, `equal_top1` the share of `compared_n` images whose top
    class is the bundle's.
    """

    form: str
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    load_seconds: float | None = None
    p50_seconds: float | None = None
    images_per_second: float | None = None
    n: int | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    compared_n: int | None = None
    equal_top1: float | None = None
    reason: str = ""

    def judged(
        self, expected: NDArray[np.float32], found: NDArray[np.float32], labels: NDArray[np.integer]
    ) -> "FormRow":
        """Returns the row with the agreement of all answers, and the accuracy of those that have a label."""
        with_agreement = self.agreeing(compare(expected, found))
        if not len(labels):
            return with_agreement
        right = int(np.sum(found[: len(labels)].argmax(axis=1) == labels))
        return replace(
            with_agreement,
            n=len(labels),
            accuracy=right / len(labels),
            accuracy_interval=wilson_interval(right, len(labels)),
        )

    def agreeing(self, agreement: Agreement) -> "FormRow":
        """Returns the row with the agreement that an export found."""
        return replace(self, compared_n=agreement.n, equal_top1=1 - agreement.top1_differences / agreement.n)

    def as_good_as(self, bundle: "FormRow") -> bool:
        """Returns whether it answers here, and well enough beside the bundle."""
        if self.images_per_second is None or self.size_bytes is None:
            return False
        if self.accuracy is not None and bundle.accuracy is not None:
            return bundle.accuracy - self.accuracy <= MOST_POINTS_LOST
        return (self.equal_top1 or 0) >= FEWEST_EQUAL

    def shown(self) -> dict[str, str]:
        """Returns the row as a person reads it, under its heads."""
        interval = percent_range(*self.accuracy_interval) if self.accuracy_interval else "–"
        return {
            "form": self.form,
            "MB": _megabytes(self.size_bytes),
            "MB, gzip": _megabytes(self.gzip_bytes),
            "load": milliseconds(self.load_seconds),
            "one image, p50": milliseconds(self.p50_seconds),
            "images/s": count(self.images_per_second),
            "accuracy": "–" if self.accuracy is None else percent(self.accuracy),
            "95 % interval": interval,
            "as the bundle": "–" if self.equal_top1 is None else percent(self.equal_top1),
        }


def advice(rows: Sequence[FormRow]) -> str:
    """Returns the sentence that RULE makes of the rows, the first of which is the bundle's."""
    good = [row for row in rows if row.as_good_as(rows[0])]
    small = min(good, key=lambda row: row.size_bytes or 0)
    fast = max(good, key=lambda row: row.images_per_second or 0)
    return (
        f"Edge: {small.form} ({_megabytes(small.size_bytes)} MB{_accuracy(small)}); "
        f"server: {fast.form} ({count(fast.images_per_second)} images/s{_accuracy(fast)})."
    )


def _accuracy(row: FormRow) -> str:
    return "" if row.accuracy is None else f", {percent(row.accuracy)} of {row.n:,} validation images"


def _megabytes(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / 1e6:,.2f}"
