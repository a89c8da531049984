"""The learning rate as a function of the step, and for plateau of the epochs after which it fell."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pictorch.recipe import ScheduleSection

ADDED_PEAK_FACTOR = 0.1

_ONE_CYCLE_START, _ONE_CYCLE_RISE = 1 / 25, 0.3


@dataclass(frozen=True)
class Segment:
    """A stretch of epochs with a schedule of its own: the recipe's, or one added to a finished run."""

    first_epoch: int
    epochs: int
    peak_factor: float

    @property
    def end_epoch(self) -> int:
        """The number of epochs that are done when the segment is."""
        return self.first_epoch + self.epochs

    def to_json(self) -> dict[str, Any]:
        """Returns the segment as run.json keeps it."""
        return asdict(self)


def lr_factor(
    section: ScheduleSection,
    segments: list[Segment],
    step: int,
    steps_per_epoch: int,
    falls: Sequence[int] = (),
) -> float:
    """Returns what the peak learning rate is multiplied by at a step, counted from 0.

    The first segment follows the recipe; an added one falls in a line from a tenth of the peak to 0.
    `falls` are the epochs after which validation lowered the rate of plateau.
    """
    epoch = step / steps_per_epoch
    segment = next(s for s in reversed(segments) if s.first_epoch <= epoch)
    epoch_inside = epoch - segment.first_epoch
    if segment is not segments[0]:
        return segment.peak_factor * (1 - epoch_inside / segment.epochs)
    warmup_epochs = section.warmup_fraction * segment.epochs
    if epoch_inside < warmup_epochs and section.name != "one_cycle":
        return section.warmup_start + (1 - section.warmup_start) * epoch_inside / warmup_epochs
    if section.name == "plateau":
        return float(section.step_factor ** sum(fall <= epoch for fall in falls))
    return SHAPES[section.name](section, epoch_inside, segment.epochs)


def _constant(section: ScheduleSection, epoch: float, epochs: int) -> float:
    return 1.0


def _step(section: ScheduleSection, epoch: float, epochs: int) -> float:
    return float(section.step_factor ** (epoch // section.step_epochs))


def _multi_step(section: ScheduleSection, epoch: float, epochs: int) -> float:
    return float(section.step_factor ** sum(milestone <= epoch for milestone in section.milestones))


def _exponential(section: ScheduleSection, epoch: float, epochs: int) -> float:
    return float(section.step_factor**epoch)


def _one_cycle(section: ScheduleSection, epoch: float, epochs: int) -> float:
    """Smith & Topin, "Super-convergence", 2018, with cosines, as torch's OneCycleLR has it."""
    rise_epochs = (section.warmup_fraction or _ONE_CYCLE_RISE) * epochs
    if epoch < rise_epochs:
        start, end, share = _ONE_CYCLE_START, 1.0, epoch / rise_epochs
    else:
        start, end, share = 1.0, section.final_factor, (epoch - rise_epochs) / (epochs - rise_epochs)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _cosine(section: ScheduleSection, epoch: float, epochs: int) -> float:
    """Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017."""
    return _between(section, (1 + math.cos(math.pi * _share(section, epoch, epochs))) / 2)


def _linear(section: ScheduleSection, epoch: float, epochs: int) -> float:
    return _between(section, 1 - _share(section, epoch, epochs))


SHAPES: dict[str, Callable[[ScheduleSection, float, int], float]] = {
    "constant": _constant,
    "step": _step,
    "multi_step": _multi_step,
    "exponential": _exponential,
    "cosine": _cosine,
    "linear": _linear,
    "one_cycle": _one_cycle,
}


def _share(section: ScheduleSection, epoch: float, epochs: int) -> float:
    """Returns how much of the way after the warm-up is done, from 0 to 1."""
    warmup_epochs = section.warmup_fraction * epochs
    return (epoch - warmup_epochs) / (epochs - warmup_epochs)


def _between(section: ScheduleSection, share: float) -> float:
    return section.final_factor + (1 - section.final_factor) * share
