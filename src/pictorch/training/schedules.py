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
    epochs: float
    peak_factor: float

    @property
    def end_epoch(self) -> int:
        """The number of epochs that are done when the segment is, a last one that ends early among them."""
        return self.first_epoch + math.ceil(self.epochs)

    def steps(self, steps_per_epoch: int) -> int:
        """Returns the number of steps; a fraction of an epoch has at least one."""
        fraction = self.epochs % 1
        last = max(1, round(fraction * steps_per_epoch)) if fraction else 0
        return int(self.epochs) * steps_per_epoch + last

    def steps_left_out(self, steps_per_epoch: int) -> int:
        """Returns how many steps the last epoch has fewer than the others."""
        return math.ceil(self.epochs) * steps_per_epoch - self.steps(steps_per_epoch)

    def to_json(self) -> dict[str, Any]:
        """Returns the segment as run.json keeps it."""
        return asdict(self)


def steps_before(segments: Sequence[Segment], epoch: int, steps_per_epoch: int) -> int:
    """Returns the number of steps in the first `epoch` epochs."""
    early = _early_ends(segments, steps_per_epoch)
    return epoch * steps_per_epoch - sum(left_out for end_epoch, left_out in early if end_epoch <= epoch)


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
    for end_epoch, left_out in _early_ends(segments, steps_per_epoch):
        if end_epoch < segments[-1].end_epoch and step + left_out >= end_epoch * steps_per_epoch:
            step += left_out
    epoch = step / steps_per_epoch
    segment = next(s for s in reversed(segments) if s.first_epoch <= epoch)
    epoch_inside, epochs = epoch - segment.first_epoch, segment.steps(steps_per_epoch) / steps_per_epoch
    if segment is not segments[0]:
        return segment.peak_factor * (1 - epoch_inside / epochs)
    warmup_epochs = section.warmup_fraction * epochs
    if epoch_inside < warmup_epochs and section.name != "one_cycle":
        return section.warmup_start + (1 - section.warmup_start) * epoch_inside / warmup_epochs
    if section.name == "plateau":
        return float(section.step_factor ** sum(fall <= epoch for fall in falls))
    return SHAPES[section.name](section, epoch_inside, epochs)


def _early_ends(segments: Sequence[Segment], steps_per_epoch: int) -> list[tuple[int, int]]:
    """Returns (epochs done, steps left out) where segments end, but for those stopped before their end."""
    following = [segment.first_epoch for segment in segments[1:]] + [segments[-1].end_epoch]
    return [
        (segment.end_epoch, segment.steps_left_out(steps_per_epoch))
        for segment, next_epoch in zip(segments, following, strict=True)
        if segment.end_epoch <= next_epoch
    ]


def _constant(section: ScheduleSection, epoch: float, epochs: float) -> float:
    return 1.0


def _step(section: ScheduleSection, epoch: float, epochs: float) -> float:
    return float(section.step_factor ** (epoch // section.step_epochs))


def _multi_step(section: ScheduleSection, epoch: float, epochs: float) -> float:
    return float(section.step_factor ** sum(milestone <= epoch for milestone in section.milestones))


def _exponential(section: ScheduleSection, epoch: float, epochs: float) -> float:
    return float(section.step_factor**epoch)


def _one_cycle(section: ScheduleSection, epoch: float, epochs: float) -> float:
    """Smith & Topin, "Super-convergence", 2018, with cosines, as torch's OneCycleLR has it."""
    rise_epochs = (section.warmup_fraction or _ONE_CYCLE_RISE) * epochs
    if epoch < rise_epochs:
        start, end, share = _ONE_CYCLE_START, 1.0, epoch / rise_epochs
    else:
        start, end, share = 1.0, section.final_factor, (epoch - rise_epochs) / (epochs - rise_epochs)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _cosine(section: ScheduleSection, epoch: float, epochs: float) -> float:
    """Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017."""
    return _between(section, (1 + math.cos(math.pi * _share(section, epoch, epochs))) / 2)


def _linear(section: ScheduleSection, epoch: float, epochs: float) -> float:
    return _between(section, 1 - _share(section, epoch, epochs))


SHAPES: dict[str, Callable[[ScheduleSection, float, float], float]] = {
    "constant": _constant,
    "step": _step,
    "multi_step": _multi_step,
    "exponential": _exponential,
    "cosine": _cosine,
    "linear": _linear,
    "one_cycle": _one_cycle,
}


def _share(section: ScheduleSection, epoch: float, epochs: float) -> float:
    """Returns how much of the way after the warm-up is done, from 0 to 1."""
    warmup_epochs = section.warmup_fraction * epochs
    return (epoch - warmup_epochs) / (epochs - warmup_epochs)


def _between(section: ScheduleSection, share: float) -> float:
    return section.final_factor + (1 - section.final_factor) * share
