"""What stands behind one app: the predictor, its limits, what is going on, and the batcher."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from pictorch.bundle.bundle import MANIFEST, Bundle
from pictorch.host import usable_cpus
from pictorch.predictor import Predictor
from pictorch.serving.batcher import Batcher
from pictorch.serving.limits import Limits, Traffic
from pictorch.serving.metrics import Metrics

# While the model computes, its clients send nothing: larger batches, hardly faster an image, leave HTTP idle.
_BATCH_IMAGES = 8
_BATCH_PIXELS = 2_000_000  # of all images of a batch, so that large images need no more memory
_MOST_DECODERS = 4


class Service:
    """One model being served: `title` is its recipe's name, `name` what of that may stand in addresses.

    `version` is the beginning of the SHA-256 of its bundle.json.
    """

    batcher: Batcher

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.bundle: Bundle = predictor.bundle
        self.limits = limits
        self.title = str(self.bundle.recipe.get("name", "model"))
        self.name = self.bundle.address_name
        self.version = hashlib.sha256(self.bundle.files[MANIFEST]).hexdigest()[:12]
        self.traffic = Traffic(limits)
        self.metrics = Metrics(self.traffic, self.name, self.version)
        self._predictor = predictor

    @property
    def is_ready(self) -> bool:
        """Whether new requests are welcome."""
        return not self.traffic.draining

    @asynccontextmanager
    async def running(self, app: Any) -> AsyncIterator[None]:
        """Keeps the batcher's threads alive while the app runs; they end with the work that they have."""
        most = max(1, min(_BATCH_IMAGES, _BATCH_PIXELS // self.bundle.input.stored_size**2))
        model = partial(self._predictor.probabilities, batch_size=most)
        decoders = min(_MOST_DECODERS, usable_cpus())
        self.batcher = Batcher(model, self.metrics, max_images=most, decoders=decoders)
        try:
            yield
        finally:
            await asyncio.to_thread(self.batcher.close)
