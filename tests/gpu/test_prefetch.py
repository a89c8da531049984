"""A store that the GPU has no room for: batches through pinned memory, which is used again and again."""

import numpy as np
import pytest
import torch

from pictorch.datasets import ImageSet
from pictorch.datasets import batches as batches_module
from pictorch.datasets.batches import TrainingBatches
from pictorch.recipe import AugmentSection

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("order", ["random", "blocks"])
def test_batches_cut_ahead_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(batches_module, "_RESIDENT_SHARE", 0.0)
    images = np.random.default_rng(0).integers(0, 256, (500, 64, 64, 3), np.uint8)
    chosen = ImageSet(images, np.arange(500), np.arange(500))

    def on(device: str) -> TrainingBatches:
        return TrainingBatches(
            chosen,
            AugmentSection(flip="random", crop_padding=4),
            seed=0,
            batch_size=32,
            num_classes=500,
            mean_color=np.zeros(3, np.uint8),
            device=torch.device(device),
            order=order,
        )

    made, expected = on("cuda"), on("cpu")
    busy, places, found = torch.ones((4096, 4096), device="cuda"), [], []
    with made.prefetched():
        for epoch in (0, 1):
            for step in range(made.steps_per_epoch):
                busy = busy @ busy  # copies wait behind it, while the thread goes on
                places.append((epoch, step))
                found.append(made.batch(epoch, step))
    for place, (images_there, labels) in zip(places, found, strict=True):
        expected_images, expected_labels = expected.batch(*place)
        assert torch.equal(images_there.cpu(), expected_images)
        assert torch.equal(labels.cpu(), expected_labels)
