"""Records of a training: metrics.jsonl, timing.jsonl, TensorBoard and the console, from one place."""

import math
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pictorch.formats import duration
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console, StepView
from pictorch.training.runtime import peak_memory_bytes
from pictorch.training.session import Session
from pictorch.training.tensorboard import TensorBoard

_HEADER = "  epoch  train loss  accuracy  val loss  accuracy        lr  images/s  time"


@dataclass(frozen=True)
class EpochMetrics:
    """The figures of an epoch, fractions from 0 to 1; `epoch` counts from 1, `step` all steps done.

    `val_classes` holds precision, recall and F1 of each class on the validation images, `val_confusion`
    how many of label i were called j.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_classes: dict[str, list[float]] | None
    val_confusion: NDArray[np.int64] | None
    gradient_norm: float | None
    best: bool

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as a line of metrics.jsonl, which has no room for the confusion matrix."""
        figures = asdict(self)
        del figures["val_confusion"]
        return {"kind": "epoch", **figures}


class Tracker:
    """Writes what happens down. Times leave out validation and saving."""

    def __init__(self, run: RunFolder, session: Session, console: Console) -> None:
        self._run, self._console = run, console
        self._tensorboard = TensorBoard(run, session, console)
        self._epoch_started = self._mark = time.perf_counter()
        self._steps_at_start = session.step
        self._train_seconds = 0.0

    def __enter__(self) -> "Tracker":
        self._console.line(_HEADER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tensorboard.close()

    def start_epoch(self, session: Session) -> None:
        """Starts the clocks of an epoch, or of the rest of one."""
        self._epoch_started = self._mark = time.perf_counter()
        self._steps_at_start = session.step
        self._train_seconds = 0.0

    def pause(self) -> None:
        """Stops the training clock for validation or saving; `resume` starts it again."""
        self._train_seconds += time.perf_counter() - self._mark

    def resume(self) -> None:
        """Starts the training clock again."""
        self._mark = time.perf_counter()

    def wants_record(self, session: Session) -> bool:
        """Returns whether the step that comes now is one whose loss and gradient norm are recorded.

        The last of each epoch is one too, so that small sets have a curve.
        """
        is_last = session.position.step_in_epoch + 1 == session.epoch_steps
        return is_last or (session.step + 1) % session.recipe.train.log_every_steps == 0

    def step(self, session: Session, gradient_norm: Tensor | None, saved: str) -> None:
        """Records the step that was just done, where it is one to record, and shows it."""
        if gradient_norm is not None:
            session.check_finite(saved)
            norm = gradient_norm.item()
            session.gradient_norm = norm if math.isfinite(norm) else None  # fp16 overflows at first
            loss = session.losses[session.position.step_in_epoch - 1].item()
            lr = session.learning_rate(session.step - 1)
            line = {
                "kind": "step",
                "epoch": session.position.epoch + 1,
                "step": session.step,
                "loss": loss,
                "lr": lr,
                "gradient_norm": session.gradient_norm,
            }
            rate = self._images_per_second(session)
            self._run.append_metrics(line)
            self._run.append_timing(
                {"kind": "step", "epoch": line["epoch"], "step": session.step, "images_per_second": rate}
            )
            scalars = {
                "loss/step": loss,
                "lr": lr,
                "gradient_norm": session.gradient_norm,
                "images_per_second": rate,
            }
            self._tensorboard.scalars(scalars, session.step)
            self._tensorboard.flush()
            if self._console.is_verbose:
                view = self._view(session)
                self._console.line(f"{view.place()}  {view.figures()}")
        if self._console.wants_step():
            self._console.step(self._view(session))

    def stop(self, session: Session) -> None:
        """Records the time of an epoch that a stop cuts here; the next start records that of its rest."""
        self._append_times(session, "stop", session.position.epoch + 1)

    def epoch(self, session: Session, metrics: EpochMetrics) -> None:
        """Records an epoch that is done and validated."""
        self._run.append_metrics(metrics.to_json())
        seconds, rate = self._append_times(session, "epoch", metrics.epoch)
        scalars = {
            "loss/train": metrics.train_loss,
            "loss/val": metrics.val_loss,
            "accuracy/train": metrics.train_accuracy,
            "accuracy/val": metrics.val_accuracy,
            "seconds/epoch": seconds,
        }
        self._tensorboard.scalars(scalars, metrics.step)
        if metrics.val_classes is not None and metrics.val_confusion is not None:
            self._tensorboard.classes(metrics.val_classes, metrics.val_confusion, metrics.step)
        self._tensorboard.flush()
        self._console.line(_epoch_line(session, metrics, seconds, rate), "bold" if metrics.best else "")

    def _append_times(self, session: Session, kind: str, epoch: int) -> tuple[float, float]:
        """Writes a line of timing.jsonl; returns its seconds and images a second."""
        seconds = time.perf_counter() - self._epoch_started
        steps = session.step - self._steps_at_start
        rate = steps * session.batches.batch_size / self._train_seconds
        self._run.append_timing(
            {
                "kind": kind,
                "epoch": epoch,
                "step": session.step,
                "seconds": seconds,
                "train_seconds": self._train_seconds,
                "images_per_second": rate,
                "peak_memory_bytes": peak_memory_bytes(session.runtime.device),
            }
        )
        return seconds, rate

    def _images_per_second(self, session: Session) -> float:
        seconds = self._train_seconds + time.perf_counter() - self._mark
        return (session.step - self._steps_at_start) * session.batches.batch_size / seconds

    def _view(self, session: Session) -> StepView:
        done = session.position.step_in_epoch
        rate = self._images_per_second(session)
        steps_left = session.steps_before(session.epochs_planned) - session.step
        return StepView(
            epoch=session.position.epoch + 1,
            epochs=session.epochs_planned,
            batch=done,
            batches=session.epoch_steps,
            loss=session.losses[:done].mean().item(),
            learning_rate=session.learning_rate(session.step - 1),
            gradient_norm=session.gradient_norm,
            images_per_second=rate,
            seconds_left=steps_left * session.batches.batch_size / rate,
        )


def _epoch_line(session: Session, metrics: EpochMetrics, seconds: float, rate: float) -> str:
    val_loss = val_accuracy = "-"
    if metrics.val_accuracy is not None:
        val_loss, val_accuracy = f"{metrics.val_loss:.4f}", f"{metrics.val_accuracy:.2%}"
    line = (
        f"{metrics.epoch}/{session.epochs_planned}".rjust(7)
        + f"  {metrics.train_loss:10.4f}  {metrics.train_accuracy:8.2%}"
        + f"  {val_loss:>8}  {val_accuracy:>8}  {metrics.lr:8.2g}  {rate:8,.0f}  {duration(seconds)}"
    )
    return line + ("  best" if metrics.best else "")
