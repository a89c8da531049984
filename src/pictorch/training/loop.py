"""The training loop: one, in plain PyTorch, to be read from top to bottom."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pictorch import notebook
from pictorch.datasets.splits import Splits
from pictorch.errors import DivergedError, StoppedError, UserError
from pictorch.formats import percent
from pictorch.metrics.scores import class_fractions, loss_and_accuracy
from pictorch.randomness import Purpose, derived_seed, permutation
from pictorch.recipe import Recipe
from pictorch.run_folder import BEST, LAST, RunFolder
from pictorch.training.checkpoint import restore, save_checkpoint
from pictorch.training.console import Console
from pictorch.training.runtime import memory_explained, resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session
from pictorch.training.signals import StopRequest, stop_requests
from pictorch.training.tracker import EpochMetrics, Tracker
from pictorch.training.validation import predict_logits

_SAMPLES = 32


@dataclass(frozen=True)
class FitResult:
    """What a training gave. Accuracies are fractions; `checkpoint` is the one that is judged."""

    run: str
    epochs: int
    steps: int
    stopped_early: bool
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    best_epoch: int | None
    best_val_accuracy: float | None
    checkpoint: str

    def to_json(self) -> dict[str, Any]:
        """Returns the result as `train --json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        figures = {
            "run folder": self.run,
            "epochs": f"{self.epochs}, stopped early" if self.stopped_early else self.epochs,
            "training accuracy": percent(self.train_accuracy),
            "best validation accuracy": None
            if self.best_val_accuracy is None
            else f"{percent(self.best_val_accuracy)} in epoch {self.best_epoch}",
            "judged checkpoint": self.checkpoint,
        }
        epochs = [line for line in RunFolder(Path(self.run)).metrics() if line["kind"] == "epoch"]
        curves = (
            notebook.curve(key.replace("_", " "), [line[key] for line in epochs])
            for key in ("train_loss", "val_loss", "val_accuracy")
        )
        return notebook.card("Training", notebook.facts(figures), notebook.side_by_side(*curves))


def fit(recipe: Recipe, splits: Splits, run: RunFolder, *, console: Console | None = None) -> FitResult:
    """Trains from where the run folder stands until its segments are done.

    Everything is written inside the run folder. Raises StoppedError after a signal, DivergedError
    on a loss that is not finite, ResourceError when memory or disk ends; the last checkpoint stays.
    """
    runtime = resolve_runtime(recipe.train, any_device=bool(run.checkpoints()))
    console = console or Console("quiet")
    segments = [Segment(**segment) for segment in run.facts()["segments"]]
    try:
        with memory_explained(recipe.train), runtime.applied(), stop_requests() as stop:
            session = build_session(recipe, splits, runtime, segments)
            restore_or_begin(session, splits, run, console)
            with console, Tracker(run, session, console) as tracker:
                for metrics in train_epochs(session, run, tracker, stop):
                    tracker.epoch(session, metrics)
                    finish_epoch(session, run, metrics)
    except UserError as error:
        console.log(str(error))
        raise
    run.write_finished(session.position.epoch)
    return fit_result(run)


def restore_or_begin(session: Session, splits: Splits, run: RunFolder, console: Console) -> None:
    """Puts the session where the run's newest whole checkpoint is, or keeps samples of a new run."""
    restored = restore(session, run)
    if restored is None:
        run.cut_back(0, 0)  # a start that was killed before its first checkpoint may have left lines
        write_samples(session, splits, run)
    else:
        if restored.complaint is not None:
            console.line(f"{restored.complaint}; going on from {restored.folder} in its place")
        console.line(
            f"going on with {run.path} after step {session.step} (epoch {session.position.epoch + 1} of "
            f"{session.epochs_planned})"
        )
        refresh_patience(session)


def train_epochs(
    session: Session, run: RunFolder, tracker: Tracker, stop: StopRequest
) -> Iterator[EpochMetrics]:
    """Yields the metrics of each epoch that is still to be done, after training and validating it."""
    while not is_finished(session):
        tracker.start_epoch(session)
        train_epoch(session, run, tracker, stop)
        session.check_finite(saved_checkpoint(run))  # waits for the device, so before the clock stops
        tracker.pause()
        yield validate(session, run)
        if stop.signal_number is not None and not is_finished(session):
            raise stopped(session, run, stop.signal_number)


def train_epoch(session: Session, run: RunFolder, tracker: Tracker, stop: StopRequest) -> None:
    """Does the steps of the epoch that are left, saving in between when it is asked for or time."""
    saved_at = time.monotonic()
    minutes = session.recipe.train.save_every_minutes
    session.network.train()
    while session.position.step_in_epoch < session.batches.steps_per_epoch:
        record = tracker.wants_record(session)
        gradient_norm = train_step(session, measure_norm=record)
        session.position.step_in_epoch += 1
        tracker.step(session, gradient_norm if record else None, saved_checkpoint(run) if record else "")
        if session.position.step_in_epoch == session.batches.steps_per_epoch:
            break
        is_due = minutes is not None and time.monotonic() - saved_at > 60 * minutes
        if is_due or stop.signal_number is not None:
            session.check_finite(saved_checkpoint(run))
            tracker.pause()
            save_checkpoint(session, run, LAST, {"epoch": session.position.epoch, "inside_epoch": True})
            saved_at = time.monotonic()
            tracker.resume()
        if stop.signal_number is not None:
            raise stopped(session, run, stop.signal_number)


def train_step(session: Session, *, measure_norm: bool) -> Tensor | None:
    """Does one optimiser step on one batch; returns the gradient's norm where it was measured."""
    position, recipe, device = session.position, session.recipe, session.runtime.device
    step, accumulate = session.step, recipe.train.accumulate
    for group in session.optimizer.param_groups:
        group["lr"] = session.learning_rate(step)
    images, labels = session.batches.batch(position.epoch, position.step_in_epoch)
    parts = zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True)
    for micro_batch, (part_images, part_labels) in enumerate(parts):
        seed_dropout(derived_seed(recipe.train.seed, Purpose.DROPOUT, step, micro_batch), device)
        with session.runtime.autocast():
            logits = session.forward(part_images)
        logits = logits.to(session.runtime.dtype)
        loss = session.loss(logits, part_labels) * (len(part_labels) / len(labels))
        session.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        session.losses[position.step_in_epoch] += loss.detach()
        session.correct += (logits.detach().argmax(1) == part_labels).sum()
    gradient_norm = limit_gradient(session, measure_norm)
    session.scaler.step(session.optimizer)
    session.scaler.update()
    session.optimizer.zero_grad()
    if session.average is not None:
        session.average.update(session.network, step)
    return gradient_norm


def limit_gradient(session: Session, measure: bool) -> Tensor | None:
    """Clips the whole gradient where the recipe says so; returns its norm before clipping."""
    limit = session.recipe.train.clip_norm
    if limit is None and not measure:
        return None
    session.scaler.unscale_(session.optimizer)
    parameters = list(session.network.parameters())
    if limit is not None:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seeds the one generator that the device's dropout draws from."""
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def validate(session: Session, run: RunFolder) -> EpochMetrics:
    """Judges the epoch that was just trained and moves the position to the start of the next."""
    position, train = session.position, session.recipe.train
    val_loss = val_accuracy = None
    if session.validation_set is not None:
        logits = predict_logits(
            session.judged_network,
            session.validation_set,
            batch_size=train.eval_batch_size,
            device=session.runtime.device,
        )
        labels = session.validation_set.labels[session.validation_set.indices]
        val_loss, val_accuracy = loss_and_accuracy(logits, labels)
        if not math.isfinite(val_loss):
            raise DivergedError(
                f"validation loss is {val_loss} after epoch {position.epoch + 1}; "
                f"last good checkpoint: {saved_checkpoint(run)}; "
                f"start a new run with `--set optimizer.lr={session.smaller_rate():.2g}`"
            )
    metrics = EpochMetrics(
        epoch=position.epoch + 1,
        step=session.step,
        lr=session.learning_rate(session.step - 1),
        train_loss=float(session.losses.cpu().double().mean()),
        train_accuracy=session.correct.item() / (len(session.losses) * session.batches.batch_size),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        gradient_norm=position.gradient_norm,
        best=note_best(session, val_loss, val_accuracy),
    )
    position.epoch, position.step_in_epoch = position.epoch + 1, 0
    refresh_patience(session)
    session.start_epoch()
    return metrics


def note_best(session: Session, val_loss: float | None, val_accuracy: float | None) -> bool:
    """Returns whether this epoch is the best so far by validation accuracy, then by loss."""
    position = session.position
    if val_loss is None or val_accuracy is None:
        return False
    best = position.best_accuracy is None or (val_accuracy, -val_loss) > (
        position.best_accuracy,
        -(position.best_loss or 0.0),
    )
    if best:
        position.best_accuracy, position.best_loss = val_accuracy, val_loss
    position.epochs_since_best = 0 if best else position.epochs_since_best + 1
    return best


def refresh_patience(session: Session) -> None:
    """Gives an added segment the whole patience of early stopping, where one begins here."""
    position = session.position
    begins = any(segment.first_epoch == position.epoch for segment in session.segments[1:])
    if begins and position.step_in_epoch == 0:
        position.epochs_since_best = 0


def finish_epoch(session: Session, run: RunFolder, metrics: EpochMetrics) -> None:
    """Saves the epoch: `best` first, `last` last, since `last` is what a resume starts from."""
    record = metrics.to_json()
    every = session.recipe.train.save_every_epochs
    if metrics.best:
        save_checkpoint(session, run, BEST, record)
    if every is not None and metrics.epoch % every == 0:
        save_checkpoint(session, run, f"epoch-{metrics.epoch:04d}", record)
    save_checkpoint(session, run, LAST, record)


def is_finished(session: Session) -> bool:
    """Returns whether all planned epochs are done, or validation has not risen for long enough."""
    patience, position = session.recipe.train.early_stop_epochs, session.position
    if position.epoch >= session.epochs_planned:
        return True
    return patience is not None and position.step_in_epoch == 0 and position.epochs_since_best >= patience


def stopped(session: Session, run: RunFolder, signal_number: int) -> StoppedError:
    """Returns the error that ends a training which a signal stopped and whose state is saved."""
    name = {2: "SIGINT", 15: "SIGTERM"}[signal_number]
    return StoppedError(
        f"stopped by {name} at step {session.step}; state saved in {run.checkpoint_path(LAST)}; "
        f"go on with: pictorch train --resume {run.path}",
        signal_number,
    )


def saved_checkpoint(run: RunFolder) -> str:
    """Returns the newest saved checkpoint for a message."""
    path = run.checkpoint_path(LAST)
    return str(path) if path.exists() else "none yet"


def fit_result(run: RunFolder) -> FitResult:
    """Returns the result of a finished run, from its recorded epochs."""
    facts = run.facts()
    epochs = [line for line in run.metrics() if line["kind"] == "epoch"]
    best = next((line for line in reversed(epochs) if line["best"]), None)
    last = epochs[-1]
    return FitResult(
        run=str(run.path),
        epochs=last["epoch"],
        steps=last["step"],
        stopped_early=last["epoch"] < Segment(**facts["segments"][-1]).end_epoch,
        train_loss=last["train_loss"],
        train_accuracy=last["train_accuracy"],
        val_loss=last["val_loss"],
        val_accuracy=last["val_accuracy"],
        best_epoch=best and best["epoch"],
        best_val_accuracy=best and best["val_accuracy"],
        checkpoint=run.choose_checkpoint(None),
    )


def write_samples(session: Session, splits: Splits, run: RunFolder) -> None:
    """Keeps some training images, as stored and as the first epoch's batches have them."""
    order = permutation(session.recipe.train.seed, Purpose.SAMPLES, len(splits.train))[:_SAMPLES]
    images, augmented, labels = session.batches.examples(order)
    run.write_samples({"images": images, "augmented": augmented, "labels": labels})
