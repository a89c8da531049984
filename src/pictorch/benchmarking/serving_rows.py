"""The rows of bench serving: what a load did, and what all of them come to."""

from collections.abc import Sequence
from dataclasses import dataclass

from pictorch.benchmarking.clients import Load
from pictorch.formats import count, megabytes, percent

BATCH_IMAGES = 64


@dataclass(frozen=True)
class LoadRow:
    """Requests of one image each, over so many connections; seconds, None where nothing was answered."""

    what: str
    connections: int
    answered: int
    rejected: int
    failed: int
    images_per_second: float
    p50_seconds: float | None
    p99_seconds: float | None
    client_share: float  # processor time of the clients by the time that it took

    @staticmethod
    def of(what: str, connections: int, load: Load) -> "LoadRow":
        """Returns the row of what came back."""
        return LoadRow(
            what, connections, len(load.answered), len(load.rejected), len(load.failures),
            round(load.per_second, 1), quantile(load.answered, 0.5), quantile(load.answered, 0.99),
            round(load.client_seconds / load.seconds, 3),
        )  # fmt: skip

    def shown(self) -> dict[str, str]:
        """Returns the row as a person reads it, under its heads."""
        return {
            "what": self.what,
            "connections": str(self.connections) if self.connections else "–",
            "images/s": count(self.images_per_second),
            "p50": milliseconds(self.p50_seconds),
            "p99": milliseconds(self.p99_seconds),
            "answered": count(self.answered),
            "rejected": count(self.rejected),
            "failed": count(self.failed),
        }


@dataclass(frozen=True)
class ServingSummary:
    """What the rows come to: seconds, bytes, fractions; None is what could not be measured."""

    ready_seconds: float
    memory_at_rest_bytes: int | None
    memory_peak_bytes: int | None
    overhead_seconds: float  # of one image at rest, beside decoding and the model
    peak_images_per_second: float
    share_of_batches: float  # of what the session alone does in batches
    goodput: float  # of the peak, under overload
    rejection_p50_seconds: float | None
    rejection_p99_seconds: float | None
    back_seconds: float | None
    memory_growth_bytes: int | None
    memory_requests: int

    def shown(self) -> list[dict[str, str]]:
        """Returns a row for each figure."""
        back = "not while it was watched" if self.back_seconds is None else f"{self.back_seconds:.2f} s"
        figures = {
            "ready after": f"{self.ready_seconds:.2f} s",
            "memory at rest": megabytes(self.memory_at_rest_bytes),
            "memory at most": megabytes(self.memory_peak_bytes),
            "one image at rest, beside decoding and model": milliseconds(self.overhead_seconds),
            "most images/s": count(self.peak_images_per_second),
            f"of a session in batches of {BATCH_IMAGES}": percent(self.share_of_batches, 1),
            "overload: answered, of the most images/s": percent(self.goodput, 1),
            "overload: rejected within (p50)": milliseconds(self.rejection_p50_seconds),
            "overload: rejected within (p99)": milliseconds(self.rejection_p99_seconds),
            "overload: latency at rest is back after": back,
            f"memory growth over {self.memory_requests:,} requests": _kilobytes(self.memory_growth_bytes),
        }
        return [{"figure": name, "value": value} for name, value in figures.items()]


def quantile(values: Sequence[float], share: float) -> float | None:
    """Returns the value that `share` of the values do not exceed, None of no values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def milliseconds(seconds: float | None) -> str:
    """Returns '1.23 ms', a dash where there is none."""
    return "–" if seconds is None else f"{1000 * seconds:.2f} ms"


def _kilobytes(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / 1e3:,.0f} kB"
