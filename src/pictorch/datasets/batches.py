"""Batches cut whole from the uint8 store: a batch is a function of (seed, epoch, step, rank, world)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pictorch.datasets.augment import Draws, augment, augment_cropped, check_fits, crop, draw, pad
from pictorch.datasets.mapped import has_large_rows, is_mapped, read_ahead
from pictorch.datasets.mixing import draw_mix, mixed, mixes
from pictorch.datasets.order import EpochOrder, block_order, random_order
from pictorch.datasets.prefetch import Prefetcher
from pictorch.datasets.splits import ImageSet
from pictorch.recipe import AugmentSection

_RESIDENT_SHARE = 0.4
_PREFETCHED = 2  # batches, beside the one that a step has
# Batches of blocks that a batch asks the disk for, until a window is asked for. Small rows, which are not
# read ahead one by one, have the window asked for at once: each miss would read the megabytes around it.
_ASKED_AHEAD = 2
_PADDED_BYTES = 1 << 29  # of a store that is kept padded
_PADDED_AT_ONCE = 1000  # images
_CUT_BYTES = 3 << 20  # of steps that are cut together, since each cut has a price beside that of its images
_COUNTED_BYTES = 3_000_000  # at once, for channel_statistics; counting takes several times as much memory


@dataclass(eq=False)
class _EpochPlan:
    epoch: int
    order: EpochOrder
    rows: Tensor  # int64, those of the order, where the store is
    labels: Tensor  # int64, in the same order
    draws: Draws
    asked: int = 0  # of the order's `reading`


class _Place(NamedTuple):
    """A batch, or what a process gets of it."""

    plan: _EpochPlan
    step: int
    rank: int
    world: int


class _Stretch(NamedTuple):
    """What a process gets of neighbouring steps from the padded store, augmented, beginning with a place."""

    first: _Place
    images: Tensor


class TrainingBatches:
    """The batches of every epoch, as they are asked for, in any order, from any process.

    The order and what is drawn for the images of a whole epoch are computed at once when its first batch
    is asked for. The images stay in the store: in memory or its map, or on the device where they fit.
    `order` is that of the epochs, 'random' or 'blocks' (`datasets.order`). What does not fill a last batch
    is left out of the epoch.
    """

    def __init__(
        self,
        image_set: ImageSet,
        section: AugmentSection,
        *,
        seed: int,
        batch_size: int,
        num_classes: int,
        mean_color: NDArray[np.uint8],
        device: torch.device,
        order: str = "random",
    ) -> None:
        assert len(image_set) > 0, "divide leaves an image of every class for training"
        self.batch_size = min(batch_size, len(image_set))
        self.steps_per_epoch = len(image_set) // self.batch_size
        self._side = int(image_set.images.shape[1])
        check_fits(section, self._side)
        self._image_set, self._section, self._seed, self._device = image_set, section, seed, device
        self._num_classes = num_classes
        self._mean_color = torch.from_numpy(mean_color).to(device)
        self._store = _resident(image_set.images, device)
        self._order = order
        self._has_large_rows = has_large_rows(image_set.images)
        self._waits_for_disk = is_mapped(image_set.images) and (order == "blocks" or self._has_large_rows)
        padded_side = self._side + 2 * section.crop_padding
        self._is_padded = (
            section.crop_padding > 0
            and not self._waits_for_disk
            and self._store.device.type == device.type
            and len(self._store) * padded_side**2 * self._store.shape[3] <= _PADDED_BYTES
        )
        self._padded: Tensor | None = None
        image_bytes = self._side**2 * self._store.shape[3]
        self._images_at_once = _CUT_BYTES // image_bytes
        self._stretch: _Stretch | None = None
        self._plan: _EpochPlan | None = None
        self._prefetcher: Prefetcher[_Place, Tensor] | None = None

    @contextmanager
    def prefetched(self) -> Iterator[None]:
        """Cuts the next batches of the epoch in a thread while its context lasts, where that pays.

        It does where the cutting waits: for the disk, which is where a map has large rows or block order, or
        for the way to a GPU that has no room for the store.
        """
        if self._store.device.type != "cpu" or not (self._waits_for_disk or self._device.type == "cuda"):
            yield
            return
        try:
            with Prefetcher(self._cut) as self._prefetcher:
                yield
        finally:
            self._prefetcher = None

    def batch(self, epoch: int, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Returns images uint8 (n, H, W, 3) and labels int64 (n,) on the device.

        Where the recipe mixes images, class probabilities float32 (n, num_classes) stand for the labels.
        `epoch` and `step` count from 0; rank r of w processes gets every w-th image of the batch.
        """
        if not mixes(self._section):
            return self._part(epoch, step, rank, world)
        mix = draw_mix(self._section, self._side, seed=self._seed, step=epoch * self.steps_per_epoch + step)
        # Whole, since the partner of an image may be another process's.
        images, targets = mixed(*self._part(epoch, step), mix, self._num_classes)
        return images[rank::world], targets[rank::world]

    def _part(self, epoch: int, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        plan = self._plan_for(epoch)
        place = _Place(plan, step, rank, world)
        cut = self._slice_of(place)
        labels = plan.labels[cut]
        if self._is_padded and plan.draws.compute_pixels:
            return self._from_padded(plan, cut), labels
        if self._is_padded:
            stretch = self._stretch_of(place)
            start = (step - stretch.first.step) * len(labels)
            return stretch.images[start : start + len(labels)], labels
        if self._prefetcher is None:
            images = self._cut(place)
        else:
            later = range(step + 1, min(step + 1 + _PREFETCHED, self.steps_per_epoch))
            images = self._prefetcher.result(place, [_Place(plan, one, rank, world) for one in later])
        images = images.to(self._device, non_blocking=True)
        draws = plan.draws.rows(cut)
        return augment(images, draws, self._section, self._mean_color), labels

    def _stretch_of(self, place: _Place) -> _Stretch:
        """Returns the stretch that a place belongs to; its images do not depend on their company."""
        plan, step, rank, world = place
        steps_at_once = max(1, self._images_at_once * world // self.batch_size)
        first = _Place(plan, step - step % steps_at_once, rank, world)
        if self._stretch is None or self._stretch.first != first:
            steps = range(first.step, min(first.step + steps_at_once, self.steps_per_epoch))
            start, stop = steps.start * self.batch_size, steps.stop * self.batch_size
            own: slice | Tensor = slice(start, stop)
            if world > 1:
                whole = torch.arange(start, stop, device=plan.rows.device)
                own = whole.view(len(steps), self.batch_size)[:, rank::world].reshape(-1)
            self._stretch = _Stretch(first, self._from_padded(plan, own))
        return self._stretch

    def _from_padded(self, plan: _EpochPlan, cut: slice | Tensor) -> Tensor:
        """Returns the images at these places of the epoch."""
        draws = plan.draws.rows(cut)
        images = crop(self._padded_store(), plan.rows[cut], draws.offset_yx, self._side)
        return augment_cropped(images, draws, self._section, self._mean_color)

    def _padded_store(self) -> Tensor:
        """Returns the whole store padded, made with the first batch, since padding is most of the work."""
        if self._padded is None:
            side, channels = self._side + 2 * self._section.crop_padding, self._store.shape[3]
            self._padded = self._store.new_empty((len(self._store), side, side, channels))
            for start in range(0, len(self._store), _PADDED_AT_ONCE):
                part = slice(start, start + _PADDED_AT_ONCE)
                self._padded[part] = pad(self._store[part], self._section)
        return self._padded

    def _slice_of(self, place: _Place) -> slice:
        start = place.step * self.batch_size
        return slice(start + place.rank, start + self.batch_size, place.world)

    def _cut(self, place: _Place) -> Tensor:
        """Returns the images of a place, where the store is; in memory that torch uses again and again."""
        cut = self._slice_of(place)
        if self._store.device.type != "cpu":
            return self._store.index_select(0, place.plan.rows[cut])
        if self._waits_for_disk:
            self._read_ahead(place.plan, cut)
        rows = place.plan.order.rows[cut]
        shape = (len(rows), *self._store.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        # Not by index_select, whose threads wait for each other longer than one of them copies. All rows
        # are there, so none is clipped; other modes copy twice.
        np.take(self._image_set.images, rows, axis=0, out=images.numpy(), mode="clip")
        return images

    def _read_ahead(self, plan: _EpochPlan, cut: slice) -> None:
        order = plan.order
        if order.reading is not None:
            begin, end = max(plan.asked, cut.start - order.window), cut.start + order.window
            if self._has_large_rows:
                begin = max(begin, cut.start)
                end = min(end, begin + _ASKED_AHEAD * self.batch_size)
            read_ahead(self._image_set.images, order.reading[begin:end], least_bytes=0)
            plan.asked = end
        read_ahead(self._image_set.images, order.rows[cut.start : cut.stop + self.batch_size : cut.step])

    def examples(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
        """Returns images as stored, as epoch 0 has them before mixing, and labels, for places in the set."""
        rows = self._image_set.indices[positions]
        images = torch.from_numpy(np.ascontiguousarray(self._image_set.images[rows])).to(self._device)
        draws = draw(self._section, self._side, seed=self._seed, epoch=0, samples=rows, device=self._device)
        augmented = augment(images, draws, self._section, self._mean_color)
        return images.cpu().numpy(), augmented.cpu().numpy(), self._image_set.labels[rows]

    def _plan_for(self, epoch: int) -> _EpochPlan:
        if self._plan is None or self._plan.epoch != epoch:
            order = self._order_of(epoch)
            rows = order.rows
            draws = draw(
                self._section, self._side, seed=self._seed, epoch=epoch, samples=rows, device=self._device
            )
            labels = torch.from_numpy(self._image_set.labels[rows]).to(self._device)
            self._plan = _EpochPlan(
                epoch, order, torch.from_numpy(rows).to(self._store.device), labels, draws
            )
        return self._plan

    def _order_of(self, epoch: int) -> EpochOrder:
        rows = self._image_set.indices
        if self._order == "random":
            return random_order(rows, seed=self._seed, epoch=epoch)
        return block_order(rows, self._image_set.images[0].nbytes, seed=self._seed, epoch=epoch)


def evaluation_batches(
    image_set: ImageSet, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images uint8 (n, H, W, 3) and labels int64 (n,) of the whole set, each image once."""
    for start in range(0, len(image_set), batch_size):
        rows = image_set.indices[start : start + batch_size]
        read_ahead(image_set.images, image_set.indices[start : start + 2 * batch_size])
        images = torch.from_numpy(np.ascontiguousarray(image_set.images[rows]))
        yield images.to(device, non_blocking=True), torch.from_numpy(image_set.labels[rows]).to(device)


def channel_statistics(image_set: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel, fractions of full brightness.

    Sums are exact integers, so the figures do not depend on the order or on threads.
    """
    counts = np.zeros((3, 256), np.int64)
    count = max(1, _COUNTED_BYTES // (3 * image_set.images.shape[1] ** 2))
    for start in range(0, len(image_set), count):
        pixels = image_set.images[image_set.indices[start : start + count]]
        for channel in range(3):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(1)
    std = np.sqrt(np.maximum(counts @ levels**2 / counts.sum(1) - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _resident(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    store = torch.from_numpy(images)
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return store.to(device) if store.nbytes < _RESIDENT_SHARE * free_bytes else store
    return store.to(device)
