"""Batches as the tutorials make them: image after image through PIL, in place of the store."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import pil_to_tensor

from pictorch.datasets.splits import ImageSet
from pictorch.randomness import Purpose, permutation


class _Images(Dataset[tuple[Tensor, int]]):
    """What torchvision's CIFAR10 does for an item: its array as a PIL image, and that as a tensor."""

    def __init__(self, image_set: ImageSet) -> None:
        self._set = image_set

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self._set.images[row])
        return pil_to_tensor(image), int(self._set.labels[row])


class PerImageBatches:
    """Stands in for TrainingBatches, without augmentation; a DataLoader fetches, in this process.

    Loader processes would work ahead while other things are timed, so there are none.
    """

    def __init__(self, image_set: ImageSet, *, seed: int, batch_size: int, device: torch.device) -> None:
        self.batch_size = min(batch_size, len(image_set))
        self.steps_per_epoch = len(image_set) // self.batch_size
        self._set, self._seed, self._device = image_set, seed, device

    def batch(self, epoch: int, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Returns images uint8 (n, H, W, 3) and labels int64 (n,) there, as `TrainingBatches` does."""
        order = permutation(self._seed, Purpose.ORDER, len(self._set), epoch)
        batch = order[step * self.batch_size :][: self.batch_size]
        rows = self._set.indices[batch[rank::world]]
        loader = DataLoader(
            _Images(self._set),
            batch_size=self.batch_size,
            sampler=np.asarray(rows).tolist(),
            pin_memory=self._device.type == "cuda",
        )
        images, labels = next(iter(loader))
        return images.permute(0, 2, 3, 1).to(self._device), labels.to(self._device)
