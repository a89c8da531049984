"""The training loop: one, in plain PyTorch, to be read from top to bottom."""

import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pictorch import durable
from pictorch.datasets.splits import ImageSet, Splits
from pictorch.errors import DivergedError, StoppedError
from pictorch.metrics.scores import class_fractions, confusion_counts, loss_and_accuracy
from pictorch.randomness import Purpose, derived_seed, permutation
from pictorch.recipe import Recipe
from pictorch.run_folder import BEST, FIRST, LAST, RunFolder
from pictorch.training.checkpoint import restore, save_checkpoint
from pictorch.training.console import Console
from pictorch.training.convolutions import recorded_convolutions
from pictorch.training.first_weights import take_weights
from pictorch.training.group import ALONE, Group
from pictorch.training.losses import sum_of_absolute_weights
from pictorch.training.regions import region
from pictorch.training.result import FitResult, fit_result
from pictorch.training.runtime import (
    recorded_order,
    resolve_runtime,
    training_memory_explained,
    validation_memory_explained,
)
from pictorch.training.schedules import Segment
from pictorch.training.session import NOTHING_OWN, Own, Session, build_session
from pictorch.training.signals import StopRequest, stop_requests
from pictorch.training.sizes import shrunk
from pictorch.training.tracker import EpochMetrics, Tracker
from pictorch.training.validation import predict_logits

_SAMPLES = 32


def fit(
    recipe: Recipe,
    splits: Splits,
    run: RunFolder,
    *,
    console: Console | None = None,
    started: float | None = None,
    added: Segment | None = None,
    own: Own = NOTHING_OWN,
    group: Group = ALONE,
) -> FitResult:
    """Trains from where the run folder stands until its segments are done or train.max_minutes are over.

    `added` becomes the last segment once the checkpoint is restored. The minutes count from `started`,
    a time of time.monotonic (None: from now). `own` holds the network and loss that were given in Python.
    All processes of `group` do this together, and the first one writes, inside the run folder. Raises
    StoppedError after a signal, DivergedError on a loss that is not finite, ResourceError when memory or
    disk ends; the last checkpoint stays.
    """
    runtime = resolve_runtime(recipe.train, any_device=bool(run.checkpoints()), group=group)
    console = console or Console("quiet")
    segments = [Segment(**segment) for segment in run.facts()["segments"]]
    segments += [] if added is None else [added]
    begun = time.monotonic() if started is None else started
    deadline = begun + 60 * (recipe.train.max_minutes or math.inf)
    explained = training_memory_explained(recipe.train, runtime.device, splits.input.image_size)
    with explained, runtime.applied(), stop_requests(deadline, group) as stop:
        order = recorded_order(run.environment()).value
        runtime = recorded_convolutions(runtime, run.environment(), console.line)
        session = build_session(recipe, splits, runtime, segments, own, order=order, group=group)
        restore_or_begin(session, splits, run, console)
        if added is not None:
            run.write_segments([segment.to_json() for segment in segments])
        run.write_stopped(None)
        with console, session.batches.prefetched(), Tracker(run, session, console) as tracker:
            for metrics in train_epochs(session, run, tracker, stop):
                tracker.epoch(session, metrics)
                finish_epoch(session, run, metrics)
    if is_finished(session):
        finish(session, run, console)
    else:
        note_stop(session, run, stop, console)
    return fit_result(run, group)


def restore_or_begin(session: Session, splits: Splits, run: RunFolder, console: Console) -> None:
    """Puts the session where the run's newest whole checkpoint is.

    A new run takes the weights that its recipe names, and keeps samples of its images.
    """
    restored = restore(session, run)
    if restored is None:
        take_weights(session, splits.class_names, run, console.line)
        run.cut_back(0, 0)  # a start that was killed before its first checkpoint may have left lines
        write_samples(session, splits, run)
    else:
        if restored.complaint is not None:
            console.line(f"{restored.complaint}; going on from {restored.folder} in its place")
        console.line(
            f"going on with {run.path} after step {session.step} "
            f"(epoch {min(session.position.epoch + 1, session.epochs_planned)} of {session.epochs_planned})"
        )
        refresh_patience(session)


def train_epochs(
    session: Session, run: RunFolder, tracker: Tracker, stop: StopRequest
) -> Iterator[EpochMetrics]:
    """Yields the metrics of each epoch that is still to be done, after training and validating it."""
    while not is_finished(session):
        tracker.start_epoch(session)
        is_whole = train_epoch(session, run, tracker, stop)
        session.check_finite(saved_checkpoint(run))  # waits for the device, so before the clock stops
        tracker.pause()
        if not is_whole:
            tracker.stop(session)
            return
        yield validate(session, run)
        stop.agree(session.group, False)
        if stop.cause is not None:
            return


def train_epoch(session: Session, run: RunFolder, tracker: Tracker, stop: StopRequest) -> bool:
    """Does the steps of the epoch that are left, saving in between when it is time.

    Returns False where a stop was asked for before the last of them; that place is saved.
    """
    saved_at = time.monotonic()
    minutes = session.recipe.train.save_every_minutes
    session.network.train()
    session.share_gradients()
    epoch_steps = session.epoch_steps
    while session.position.step_in_epoch < epoch_steps:
        record = tracker.wants_record(session)
        gradient_norm = train_step(session, measure_norm=record)
        session.position.step_in_epoch += 1
        tracker.step(session, gradient_norm if record else None, saved_checkpoint(run) if record else "")
        is_due = minutes is not None and time.monotonic() - saved_at > 60 * minutes
        is_due = stop.agree(session.group, is_due)
        if session.position.step_in_epoch == epoch_steps:
            break
        is_asked = stop.cause is not None
        if is_due or is_asked:
            session.check_finite(saved_checkpoint(run))
            tracker.pause()
            save_checkpoint(session, run, LAST, {"epoch": session.position.epoch, "inside_epoch": True})
            saved_at = time.monotonic()
            tracker.resume()
        if is_asked:
            return False
    return True


def train_step(session: Session, *, measure_norm: bool) -> Tensor | None:
    """Does one optimiser step on one batch; returns the gradient's norm where it was measured."""
    position, step = session.position, session.step
    for group, peak in zip(session.optimizer.param_groups, session.peak_rates, strict=True):
        group["lr"] = peak * session.rate_factor(step)
    with region("data"):
        images, labels = session.batches.batch(
            position.epoch, position.step_in_epoch, session.group.rank, session.group.world
        )
        session.network.normalization.image_size = side = session.image_side(step)
        images = shrunk(images, side)
    seed_dropout(session, step, 0)
    if session.captured is None:
        loss, gradient_norm = learn(session, images, labels, measure_norm)
    else:  # the same, recorded once and replayed
        loss, gradient_norm = session.captured(partial(learn, session, measure_norm=True), images, labels)
    session.losses[position.step_in_epoch] = loss
    if session.average is not None:
        with region("optimizer"):
            session.average.update(step)
    return gradient_norm


def learn(
    session: Session, images: Tensor, labels: Tensor, measure_norm: bool
) -> tuple[Tensor, Tensor | None]:
    """Moves the weights by one batch, with dropout seeded for its first part.

    Returns the loss, and the gradient's norm where it was measured. Nothing in it may wait for the device.
    """
    recipe, accumulate = session.recipe, session.recipe.train.accumulate
    whole_loss = session.losses.new_zeros(())
    parts = zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True)
    for micro_batch, (part_images, part_labels) in enumerate(parts):
        with session.keeps_gradients(until_next=micro_batch + 1 < accumulate):
            with region("forward"):
                if micro_batch:
                    seed_dropout(session, session.step, micro_batch)
                with session.runtime.autocast():
                    logits = session.forward(part_images)
                logits = logits.to(session.runtime.dtype)
                loss = session.loss(logits, part_labels)
                if accumulate > 1:
                    loss = loss * (len(part_labels) / len(labels))
                whole_loss += loss.detach()
                if recipe.loss.l1 and micro_batch == 0:  # once a step, and not in the loss that is recorded
                    loss = loss + recipe.loss.l1 * sum_of_absolute_weights(session.network)
            with region("backward"):
                session.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        likeliest = part_labels if part_labels.ndim == 1 else part_labels.argmax(1)
        session.correct += (logits.detach().argmax(1) == likeliest).sum()
    with region("optimizer"):
        gradient_norm = limit_gradient(session, measure_norm)
        session.scaler.step(session.optimizer)
        session.scaler.update()
        session.optimizer.zero_grad()
    return whole_loss, gradient_norm


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


def seed_dropout(session: Session, step: int, micro_batch: int) -> None:
    """Seeds the one generator that the device's dropout draws from."""
    seed = derived_seed(session.recipe.train.seed, Purpose.DROPOUT, step, micro_batch, session.group.rank)
    device = session.runtime.device
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def validate(session: Session, run: RunFolder) -> EpochMetrics:
    """Judges the epoch that was just trained and moves the position to the start of the next."""
    position, train = session.position, session.recipe.train
    session.network.normalization.image_size = session.network.input_spec.image_size
    val_loss = val_accuracy = val_classes = val_confusion = None
    if session.validation_set is not None:
        with validation_memory_explained(train, session.runtime.device):
            logits = validation_logits(session, session.validation_set)
        labels = session.validation_set.labels[session.validation_set.indices]
        val_loss, val_accuracy = loss_and_accuracy(logits, labels)
        if not math.isfinite(val_loss):
            raise DivergedError(
                f"validation loss is {val_loss} after epoch {position.epoch + 1}; "
                f"last good checkpoint: {saved_checkpoint(run)}; "
                f"start a new run with `--set optimizer.lr={session.smaller_rate():.2g}`"
            )
        val_confusion = confusion_counts(logits, labels)
        fractions = class_fractions(val_confusion)
        val_classes = {key: [round(one, 4) for one in values] for key, values in fractions.items()}
    metrics = EpochMetrics(
        epoch=position.epoch + 1,
        step=session.step,
        lr=session.learning_rate(session.step - 1),
        train_loss=float(session.losses[: session.epoch_steps].cpu().double().mean()),
        train_accuracy=session.correct.item() / (session.epoch_steps * session.batches.batch_size),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        val_classes=val_classes,
        val_confusion=val_confusion,
        gradient_norm=session.gradient_norm,
        best=note_best(session, val_loss, val_accuracy),
    )
    note_plateau(session, val_loss)
    position.epoch, position.step_in_epoch = position.epoch + 1, 0
    refresh_patience(session)
    session.start_epoch()
    return metrics


def validation_logits(session: Session, images: ImageSet) -> NDArray[np.float32]:
    """Returns the judged network's logits of all images, of which each process of the group judges a part."""
    group = session.group
    group.tell_tensors(session.judged_network.state_dict().values())
    logits = predict_logits(
        session.judged_network,
        replace(images, indices=images.indices[group.part_of(len(images))]),
        batch_size=session.recipe.train.eval_batch_size,
        device=session.runtime.device,
    )
    return group.gathered(logits, len(images))


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


def note_plateau(session: Session, val_loss: float | None) -> None:
    """Lets the rate of the schedule plateau fall after this epoch where validation asks for it.

    As torch's ReduceLROnPlateau, without a threshold; the epochs of the warm-up do not count.
    """
    position, schedule = session.position, session.recipe.schedule
    warmup_epochs = schedule.warmup_fraction * session.segments[0].epochs
    if schedule.name != "plateau" or val_loss is None or position.epoch + 1 <= warmup_epochs:
        return
    if position.lowest_loss is None or val_loss < position.lowest_loss:
        position.lowest_loss, position.epochs_since_lowest = val_loss, 0
        return
    position.epochs_since_lowest += 1
    if position.epochs_since_lowest == schedule.plateau_epochs:
        position.epochs_since_lowest = 0
        position.rate_falls = (*position.rate_falls, position.epoch + 1)


def refresh_patience(session: Session) -> None:
    """Gives an added segment the whole patience of early stopping, where one begins here."""
    position = session.position
    begins = any(segment.first_epoch == position.epoch for segment in session.segments[1:])
    if begins and position.step_in_epoch == 0:
        position.epochs_since_best = 0


def finish_epoch(session: Session, run: RunFolder, metrics: EpochMetrics) -> None:
    """Saves the epoch: `best` first, `last` last, since `last` is what a resume starts from."""
    record = metrics.to_json()
    every, keep = session.recipe.train.save_every_epochs, session.recipe.train.keep_checkpoints
    if metrics.best:
        save_checkpoint(session, run, BEST, record)
    if every is not None and metrics.epoch % every == 0:
        save_checkpoint(session, run, f"epoch-{metrics.epoch:04d}", record)
        if keep is not None:
            run.drop_checkpoints(keep=keep, until_epoch=metrics.epoch)
    save_checkpoint(session, run, LAST, record)


def is_finished(session: Session) -> bool:
    """Returns whether all planned epochs are done, or validation has not risen for long enough."""
    patience, position = session.recipe.train.early_stop_epochs, session.position
    if position.epoch >= session.epochs_planned:
        return True
    return patience is not None and position.step_in_epoch == 0 and position.epochs_since_best >= patience


def finish(session: Session, run: RunFolder, console: Console) -> None:
    """Records that the training is done; the `best` before the best has served its purpose."""
    if session.position.epoch == 0:  # weights from elsewhere that were made a run: kept as they are
        for name in (LAST, FIRST):
            save_checkpoint(session, run, name, {"epoch": 0})
    run.write_finished(session.position.epoch)
    if session.group.is_first:
        durable.remove_folder(durable.previous_of(run.checkpoint_path(BEST)))
    early = session.position.epoch < session.epochs_planned
    console.log(f"finished after epoch {session.position.epoch}" + (", stopped early" if early else ""))


def note_stop(session: Session, run: RunFolder, stop: StopRequest, console: Console) -> None:
    """Records and says what stopped the training; raises StoppedError where it was a signal."""
    run.write_stopped(stop.cause)
    message = (
        f"stopped by {stop.cause} at step {session.step}; state saved in {run.checkpoint_path(LAST)}; "
        f"go on with `pictorch train --resume {shlex.quote(str(run.path))}`"
    )
    if stop.signal_number is not None:
        raise StoppedError(message, stop.signal_number)
    console.line(message)


def saved_checkpoint(run: RunFolder) -> str:
    """Returns the newest saved checkpoint for a message."""
    path = run.checkpoint_path(LAST)
    return str(path) if path.exists() else "none yet"


def write_samples(session: Session, splits: Splits, run: RunFolder) -> None:
    """Keeps some training images, as stored and as the first epoch's batches have them."""
    order = permutation(session.recipe.train.seed, Purpose.SAMPLES, len(splits.train))[:_SAMPLES]
    images, augmented, labels = session.batches.examples(order)
    run.write_samples({"images": images, "augmented": augmented, "labels": labels})
