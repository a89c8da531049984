"""Everything that a training changes or uses at a step, built from recipe and data."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pictorch.datasets.batches import TrainingBatches, channel_statistics
from pictorch.datasets.splits import ImageSet, Splits
from pictorch.errors import DivergedError
from pictorch.networks import Classifier, OwnNetwork, build_network
from pictorch.networks.summary import summarize
from pictorch.networks.whitening import PatchWhitening
from pictorch.randomness import Purpose, derived_seed, permutation
from pictorch.recipe import Recipe
from pictorch.training.captured import CapturedStep
from pictorch.training.ema import WeightAverage
from pictorch.training.freezing import Freezing
from pictorch.training.group import ALONE, Group
from pictorch.training.losses import Loss, build_loss, class_weights
from pictorch.training.optimizers import USUAL_PEAKS, build_optimizer, section_for
from pictorch.training.parallel import ParallelNetwork
from pictorch.training.runtime import Runtime, resolve_for_work, resolve_order
from pictorch.training.schedules import Segment, lr_factor, steps_before
from pictorch.training.sizes import check_sizes, side_at

_WHITENED_PIXELS = 2_000_000  # of the images that the filters of a whitening layer come from


@dataclass(frozen=True)
class Own:
    """What was given in Python for the names of the user's own in a recipe."""

    model: OwnNetwork | None = None
    loss: Loss | None = None


NOTHING_OWN = Own()


@dataclass
class Position:
    """Where a training stands and what it has chosen so far; all counts are of what is done."""

    epoch: int = 0
    step_in_epoch: int = 0
    best_accuracy: float | None = None
    best_loss: float | None = None
    epochs_since_best: int = 0
    # Of the schedule plateau: the epochs after which the rate fell, and what the next fall depends on.
    rate_falls: tuple[int, ...] = ()
    lowest_loss: float | None = None
    epochs_since_lowest: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the position as a checkpoint keeps it."""
        return asdict(self)


@dataclass
class Session:
    """A network in training with all that moves it. `losses` and `correct` belong to this epoch.

    `peak_rates` has what the schedule multiplies for each group of the optimiser, `peak_rate` is the one of
    them that is shown. `gradient_norm` is the last one that was measured; every epoch ends with one.
    In a group, `losses` and `correct` are of this process's images until `share_figures`.
    """

    recipe: Recipe
    runtime: Runtime
    network: Classifier
    optimizer: torch.optim.Optimizer
    peak_rates: tuple[float, ...]
    peak_rate: float
    freezing: Freezing
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    forward: Callable[[Tensor], Tensor]
    loss: Loss
    batches: TrainingBatches
    validation_set: ImageSet | None
    segments: list[Segment]
    losses: Tensor
    correct: Tensor
    captured: CapturedStep | None = None  # where steps are replayed as a CUDA graph
    group: Group = ALONE
    parallel: ParallelNetwork | None = None  # where it is a group
    shared_steps: int = 0  # of this epoch, whose figures are the group's
    position: Position = field(default_factory=Position)
    gradient_norm: float | None = None

    @property
    def step(self) -> int:
        """The number of optimiser steps that are done."""
        return self.steps_before(self.position.epoch) + self.position.step_in_epoch

    @property
    def epochs_planned(self) -> int:
        """The number of epochs after which the training is finished."""
        return self.segments[-1].end_epoch

    @property
    def epoch_steps(self) -> int:
        """The number of steps in the epoch where the training stands; a last one may end early."""
        return self.steps_before(self.position.epoch + 1) - self.steps_before(self.position.epoch)

    def steps_before(self, epoch: int) -> int:
        """Returns the number of steps in the first `epoch` epochs."""
        return steps_before(self.segments, epoch, self.batches.steps_per_epoch)

    @property
    def judged_network(self) -> Classifier:
        """The network that is validated and kept: the averaged one where there is one."""
        if self.average is None:
            return self.network
        assert isinstance(self.average.network, Classifier)
        return self.average.network

    def rate_factor(self, step: int) -> float:
        """Returns what the peak rates are multiplied by at a step, counted from 0."""
        per_epoch, falls = self.batches.steps_per_epoch, self.position.rate_falls
        return lr_factor(self.recipe.schedule, self.segments, step, per_epoch, falls)

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0: the one that is recorded and shown."""
        return self.peak_rate * self.rate_factor(step)

    def image_side(self, step: int) -> int:
        """Returns the side in pixels that the network sees at a step, counted from 0."""
        share = step / max(1, self.segments[0].steps(self.batches.steps_per_epoch))
        return side_at(self.recipe.augment, share, self.network.input_spec.image_size)

    def start_epoch(self) -> None:
        """Empties the sums of the epoch."""
        self.losses.zero_()
        self.correct.zero_()
        self.shared_steps = 0

    def share_gradients(self) -> None:
        """Has backward passes average the gradients over the group, for the parameters that learn now."""
        self.freezing.apply(self.position.epoch)
        if self.group.is_joined and (self.parallel is None or self.freezing.has_changed):
            self.parallel = self.forward = ParallelNetwork(self.network, self.recipe, self.group)

    def keeps_gradients(self, *, until_next: bool) -> AbstractContextManager[None]:
        """Returns the context of a part of a batch, whose gradients may wait for those of the next part."""
        if self.parallel is None or not until_next:
            return nullcontext()
        return self.parallel.keeps_gradients()

    def share_figures(self) -> None:
        """Makes the losses those of whole batches, and gives the first process all that is correct."""
        done = self.position.step_in_epoch
        if self.group.is_joined and self.shared_steps < done:
            self.group.mean_(self.losses[self.shared_steps : done])
            self.group.sum_(self.correct)
            self.correct.mul_(self.group.is_first)
            self.shared_steps = done

    def check_finite(self, saved: str) -> None:
        """Raises DivergedError where a loss of this epoch or a weight is not finite.

        `saved` names the last good checkpoint. Nothing is recorded or saved without this check.
        """
        self.share_figures()
        losses = self.losses[: self.position.step_in_epoch]
        broken = (~losses.isfinite()).nonzero()
        if len(broken):
            index = int(broken[0])
            what = f"loss is {losses[index].item()}"
        elif self.group.any(not _is_finite(self.network)):
            index, what = len(losses) - 1, "a weight is not finite"
        else:
            return
        step = self.steps_before(self.position.epoch) + index
        raise DivergedError(
            f"{what} at step {step + 1} (epoch {self.position.epoch + 1}, learning rate "
            f"{self.learning_rate(step):.3g}); last good checkpoint: {saved}; start "
            f"a new run with `--set optimizer.lr={self.smaller_rate(step):.2g}` or `--set train.clip_norm=1`"
        )

    def smaller_rate(self, step: int | None = None) -> float:
        """Returns the peak learning rate to try after one that was too large by `step`."""
        steps = range(0, (self.step if step is None else step) + 1)
        reached = max(map(self.learning_rate, steps[:: max(1, len(steps) // 100)]))
        return min(reached / 4, USUAL_PEAKS[self.recipe.optimizer.name])


def build_session(
    recipe: Recipe,
    splits: Splits,
    runtime: Runtime,
    segments: list[Segment],
    own: Own = NOTHING_OWN,
    *,
    order: str | None = None,
    group: Group = ALONE,
) -> Session:
    """Returns a session at its start: weights, order and draws are functions of train.seed.

    `order` is what data.order became when the run began; None resolves it here and now.
    """
    torch.manual_seed(derived_seed(recipe.train.seed, Purpose.INITIALIZATION))
    network = build_network(recipe.model, len(splits.class_names), splits.input, own=own.model)
    mean, std = channel_statistics(splits.train)
    mean_color = np.rint(np.array(mean) * 255).astype(np.uint8)
    network.normalization.fill(
        mean if recipe.model.mean == "auto" else recipe.model.mean,
        std if recipe.model.std == "auto" else recipe.model.std,
    )
    fill_whitening(network, splits.train, recipe.train.seed)
    runtime.place(network)
    if runtime.device.type == "cuda":
        runtime = resolve_for_work(runtime, recipe, len(splits.train), summarize(network, ""))
    batches = TrainingBatches(
        splits.train,
        recipe.augment,
        seed=recipe.train.seed,
        batch_size=recipe.train.batch_size,
        num_classes=len(splits.class_names),
        mean_color=mean_color,
        device=runtime.device,
        order=order or resolve_order(recipe.data, splits.train.images).value,
    )
    decay = recipe.train.ema_decay
    section = section_for(recipe, batches.batch_size)
    optimizer = build_optimizer(section, network.network)
    return Session(
        recipe=recipe,
        runtime=runtime,
        network=network,
        optimizer=optimizer,
        peak_rates=tuple(group["lr"] for group in optimizer.param_groups),
        peak_rate=section.lr,
        freezing=Freezing(recipe.train, network.network),
        scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.scales_gradients),
        average=None if decay is None else WeightAverage(network, decay),
        forward=cast(Callable[[Tensor], Tensor], torch.compile(network)) if runtime.compile else network,
        loss=_loss(recipe, splits, runtime, own),
        batches=batches,
        validation_set=splits.val,
        segments=segments,
        losses=torch.zeros(batches.steps_per_epoch, dtype=runtime.dtype, device=runtime.device),
        correct=torch.zeros((), dtype=torch.int64, device=runtime.device),
        captured=CapturedStep(optimizer) if runtime.cuda_graph else None,
        group=group,
    )


def _is_finite(network: Classifier) -> bool:
    return all(bool(t.isfinite().all()) for t in network.state_dict().values() if t.is_floating_point())


def fill_whitening(network: Classifier, train: ImageSet, seed: int) -> None:
    """Computes the filters of whitening layers from training images that are drawn by the seed."""
    layers = [layer for layer in network.modules() if isinstance(layer, PatchWhitening)]
    if layers:
        count = max(1, _WHITENED_PIXELS // network.normalization.image_size**2)
        rows = train.indices[permutation(seed, Purpose.WHITENING, len(train))[:count]]
        images = torch.from_numpy(np.ascontiguousarray(train.images[np.sort(rows)]))
        for layer in layers:
            layer.fill(network.normalization(images))


def check_parts(recipe: Recipe, splits: Splits, network: Classifier) -> None:
    """Raises RecipeError where the loss does not fit the classes, or something else not the network."""
    _class_weights(recipe, splits)
    Freezing(recipe.train, network.network)
    build_optimizer(recipe.optimizer, network.network)
    check_sizes(recipe.augment, network)


def _loss(recipe: Recipe, splits: Splits, runtime: Runtime, own: Own) -> Loss:
    weights = _class_weights(recipe, splits)
    placed = None if weights is None else weights.to(runtime.device, runtime.dtype)
    return build_loss(recipe.loss, own.loss, placed)


def _class_weights(recipe: Recipe, splits: Splits) -> Tensor | None:
    labels = splits.train.labels[splits.train.indices]
    return class_weights(recipe.loss, labels, splits.class_names)
