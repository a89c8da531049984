"""The seconds of single training steps: the loop's own, of several trainings in turn."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from pictorch.datasets import Splits
from pictorch.recipe import Recipe
from pictorch.training.captured import WARM_UP_STEPS
from pictorch.training.console import Console
from pictorch.training.loop import train_step
from pictorch.training.runtime import resolve_runtime, training_memory_explained
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session


@dataclass
class StepTimes:
    """A training of which only steps are timed. `seconds` has the timed ones, `first_seconds` the first."""

    name: str
    session: Session
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Images a second of each timed step."""
        return [self.session.batches.batch_size / seconds for seconds in self.seconds]

    @property
    def epoch_seconds(self) -> float:
        """The seconds that the steps of an epoch take, from the median of the timed ones."""
        return statistics.median(self.seconds) * self.session.batches.steps_per_epoch

    def warm_up(self) -> None:
        """Does what is not timed: the first step, into which cuDNN's trials and compiling fall."""
        self.session.network.train()
        self.session.freezing.apply(0)
        self.first_seconds = self._step()
        if self.session.runtime.compile:
            self._step()  # the first one compiled
        if self.session.captured is not None:
            for _ in range(WARM_UP_STEPS):
                self._step()

    def time_one(self) -> None:
        """Does a step and notes its seconds."""
        self.seconds.append(self._step())

    def _step(self) -> float:
        session, position = self.session, self.session.position
        with session.runtime.applied(), self._explained():
            start = time.perf_counter()
            train_step(session, measure_norm=False)
            _wait_for(session.runtime.device)
            seconds = time.perf_counter() - start
        position.step_in_epoch += 1
        if position.step_in_epoch == session.epoch_steps:
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            session.start_epoch()
        return seconds

    def _explained(self) -> AbstractContextManager[None]:
        session = self.session
        size = session.network.input_spec.image_size
        return training_memory_explained(session.recipe.train, session.runtime.device, size)


def session_of(recipe: Recipe, splits: Splits) -> Session:
    """Returns a session at its start, as training builds it; weights stay drawn, which times do not feel."""
    runtime = resolve_runtime(recipe.train)
    return build_session(recipe, splits, runtime, [Segment(0, recipe.train.epochs, 1.0)])


def time_in_turn(trainings: list[StepTimes], rounds: int, console: Console) -> None:
    """Times one step of each training in every round, so that what else the machine does falls on all."""
    for number in range(rounds):
        for training in trainings:
            training.time_one()
        console.line(f"round {number + 1} of {rounds}: {_latest(trainings)}")


def _latest(trainings: list[StepTimes]) -> str:
    return ", ".join(f"{one.name} {one.seconds[-1]:.3g} s" for one in trainings)


def _wait_for(device: torch.device) -> None:
    waits: dict[str, Callable[[], None]] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    if device.type in waits:
        waits[device.type]()
