"""The rows of the ladder: a rung, and what a step to efficiency is worth; how they are shown."""

from dataclasses import dataclass

from pictorch.formats import count, duration, percent, percent_range


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder; None is what there is not. `timed` says what the seconds come from.

    They are 'steps' (the median step times the steps of an epoch) or 'epochs' (the median epoch of a
    training, with validation). The accuracy is that of the test images, of a training only.
    """

    name: str
    recipe: str
    batch_size: int
    precision: str
    steps_per_epoch: int | None = None
    epoch_seconds: float | None = None
    images_per_second: float | None = None
    timed: str | None = None
    test_accuracy: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    missing: str | None = None

    def shown(self) -> dict[str, str]:
        """Returns the rung as a person reads it, under its heads."""
        accuracy = "–"
        if self.test_accuracy is not None:
            interval = percent_range(self.interval_low or 0, self.interval_high or 0)
            accuracy = f"{percent(self.test_accuracy)} ({interval})"
        return {
            "rung": self.name,
            "batch": str(self.batch_size),
            "precision": self.precision,
            "an epoch": "missing" if self.epoch_seconds is None else duration(self.epoch_seconds),
            "images/s": count(self.images_per_second),
            "test accuracy": accuracy,
        }


@dataclass(frozen=True)
class Worth:
    """What a step to efficiency is worth: images/s with it over images/s without, of the same round."""

    step: str
    without: str
    factor: float | None = None
    lowest: float | None = None
    highest: float | None = None
    missing: str | None = None

    def shown(self) -> dict[str, str]:
        """Returns the worth as a person reads it, under its heads."""
        is_there = self.factor is not None
        return {
            "step": self.step,
            "in place of": self.without,
            "times the images/s": f"{self.factor:.2f}" if is_there else "missing",
            "range": f"{self.lowest:.2f}–{self.highest:.2f}" if is_there else "–",
        }
