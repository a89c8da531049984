"""Micro-batches over one model: each run takes what has queued and never waits for more."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pictorch.serving.metrics import Metrics

Pixels = NDArray[np.uint8]
Model = Callable[[Pixels], NDArray[np.float32]]


class HasPixels(Protocol):
    """What a request was made into; the model gets its pixels, uint8 (N, H, W, 3)."""

    @property
    def pixels(self) -> Pixels:
        """The images, as the model takes them."""


P = TypeVar("P", bound=HasPixels)


@dataclass(eq=False, slots=True)
class _Work:
    prepare: Callable[[], HasPixels]
    answer: "asyncio.Future[Any]"
    queued_at: float = field(default_factory=time.perf_counter)
    waited_seconds: float = 0.0
    prepared: Any = None


class Batcher:
    """Decoding threads and one thread for the model; made and closed inside a running event loop.

    A request goes through a decoding thread into a queue, a small one at once. The model's thread takes
    from it up to `max_images` images at a time (more only where one request alone holds more) and never
    waits to fill a batch. A request whose future was cancelled is dropped at the next of these steps.
    """

    def __init__(self, model: Model, metrics: Metrics, *, max_images: int, decoders: int) -> None:
        self._model = model
        self._metrics = metrics
        self._max_images = max_images
        self._loop = asyncio.get_running_loop()
        self._ready: deque[_Work] = deque()
        self._is_running = False
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="inference")

    async def answer(
        self, prepare: Callable[[], P], at_once: Callable[[], P | None] | None = None
    ) -> tuple[P, NDArray[np.float32]]:
        """Returns what `prepare` made in a decoding thread, and the rows (N, C) of its N images.

        `at_once` may do the same in the event loop's thread, and returns None where that would take long.
        Raises what the two raise.
        """
        work, started = _Work(prepare, self._loop.create_future()), time.perf_counter()
        if at_once is not None:
            work.prepared = at_once()
        if work.prepared is None:
            self._decoders.submit(self._prepare, work)
        else:
            self._queue(work, started)
        rows = await work.answer
        return work.prepared, rows

    def close(self) -> None:
        """Ends the threads, after the work that they have."""
        self._decoders.shutdown()
        self._inference.shutdown()

    def _prepare(self, work: _Work) -> None:
        if work.answer.cancelled():
            return
        started = time.perf_counter()
        work.waited_seconds = started - work.queued_at
        try:
            work.prepared = work.prepare()
        except Exception as error:
            self._loop.call_soon_threadsafe(_fail, [work], error)
            return
        self._queue(work, started)

    def _queue(self, work: _Work, started: float) -> None:
        work.queued_at = time.perf_counter()
        self._metrics.decode_seconds.observe(work.queued_at - started)
        self._ready.append(work)
        if not self._is_running:
            self._is_running = True
            self._inference.submit(self._run)

    def _run(self) -> None:
        """Answers what has queued, batch after batch, until nothing is left."""
        while self._ready:  # again, for what came before the line below and called nobody
            while batch := self._taken():
                self._answer(batch)
            self._is_running = False

    def _answer(self, batch: list[_Work]) -> None:
        started = time.perf_counter()
        for work in batch:
            self._metrics.queue_seconds.observe(work.waited_seconds + started - work.queued_at)
        images = [work.prepared.pixels for work in batch]
        try:
            rows = self._model(np.concatenate(images) if len(images) > 1 else images[0])
        except Exception as error:
            self._loop.call_soon_threadsafe(_fail, batch, error)
            return
        self._metrics.inference_seconds.observe(time.perf_counter() - started)
        self._metrics.batch_images.observe(len(rows))
        self._loop.call_soon_threadsafe(_deliver, batch, rows)

    def _taken(self) -> list[_Work]:
        batch: list[_Work] = []
        images = 0
        while self._ready:  # only this thread takes from it
            work = self._ready[0]
            if work.answer.cancelled():
                self._ready.popleft()
                continue
            images += len(work.prepared.pixels)
            if batch and images > self._max_images:
                break
            batch.append(self._ready.popleft())
        return batch


def _deliver(batch: list[_Work], rows: NDArray[np.float32]) -> None:
    start = 0
    for work in batch:
        end = start + len(work.prepared.pixels)
        if not work.answer.done():
            work.answer.set_result(rows[start:end])
        start = end


def _fail(batch: list[_Work], error: Exception) -> None:
    for work in batch:
        if not work.answer.done():
            work.answer.set_exception(error)
