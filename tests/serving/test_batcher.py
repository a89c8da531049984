"""The batcher: what has queued is taken together, what nobody waits for is not computed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pictorch.serving.batcher import Batcher
from pictorch.serving.limits import Limits, Traffic
from pictorch.serving.metrics import Metrics


@dataclass
class Sent:
    pixels: NDArray[np.uint8]


def sent(*values: int) -> Sent:
    return Sent(np.array(values, np.uint8).reshape(-1, 1, 1, 1))


class Model:
    """Answers each image by its value, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(pixels.ravel().tolist())
        self.begun.set()
        assert self.go.wait(10)
        if 99 in pixels:
            raise ValueError("no")
        return pixels.reshape(-1, 1).astype(np.float32)


async def begun(batcher: Batcher, model: Model, *works: Sent) -> "list[asyncio.Task[object]]":
    """Starts the first work, and queues the others behind it."""
    tasks = []
    for work in works:
        tasks.append(asyncio.ensure_future(batcher.answer(lambda work=work: work)))
        await asyncio.to_thread(model.begun.wait, 10)
        while len(tasks) > 1 and len(batcher._ready) < len(tasks) - 1:
            await asyncio.sleep(0.001)
    return tasks


def run(check: "object") -> None:
    async def inside() -> None:
        model = Model()
        batcher = Batcher(model, Metrics(Traffic(Limits()), "m", "1"), max_images=4, decoders=2)
        try:
            await check(batcher, model)  # type: ignore[operator]
        finally:
            model.go.set()
            batcher.close()

    with ThreadPoolExecutor(
        1
    ) as thread:  # playwright, in the same process, leaves a running loop in this one
        thread.submit(asyncio.run, inside()).result()


def test_it_takes_what_has_queued_up_to_the_most() -> None:
    async def check(batcher: Batcher, model: Model) -> None:
        tasks = await begun(batcher, model, sent(1), sent(2), sent(3, 4), sent(5, 6), sent(*range(10, 16)))
        model.go.set()
        answers = [rows.ravel().tolist() for _, rows in await asyncio.gather(*tasks)]
        assert answers == [[1], [2], [3, 4], [5, 6], list(range(10, 16))]
        assert model.batches == [[1], [2, 3, 4], [5, 6], list(range(10, 16))], "1 was not made to wait"

    run(check)


def test_what_nobody_waits_for_is_not_computed() -> None:
    async def check(batcher: Batcher, model: Model) -> None:
        tasks = await begun(batcher, model, sent(1), sent(2), sent(3))
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(tasks[0], tasks[2])
        assert model.batches == [[1], [3]]
        assert tasks[1].cancelled()

    run(check)


def test_errors_reach_those_who_caused_them() -> None:
    async def check(batcher: Batcher, model: Model) -> None:
        def fails() -> Sent:
            raise KeyError("decoding")

        model.go.set()
        with pytest.raises(KeyError):
            await batcher.answer(fails)
        with pytest.raises(ValueError, match="no"):
            await batcher.answer(lambda: sent(99))
        _, rows = await batcher.answer(lambda: sent(7))
        assert rows.tolist() == [[7.0]], "and it goes on"

    run(check)
