"""Images in batches, each thread with one of its own, in their order and a few ahead at most."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from pictorch.predictor.image_inputs import Given

Answered = TypeVar("Answered")

_AHEAD = 2  # so many wait for a thread, which has work while rows go to the disk


def in_batches(
    images: Iterable[Given],
    answered: Callable[[int, Sequence[Given]], Answered],
    *,
    size: int,
    threads: int,
) -> Generator[Answered, None, None]:
    """Yields what is answered to each batch, given the number of its first image, from 0, and its images.

    Whoever may stop before the end closes it: else its threads wait for Python to find that nobody asks.
    """
    waiting, begun, number = iter(images), deque[Future[Answered]](), 0
    pool = ThreadPoolExecutor(threads)
    try:
        while batch := list(islice(waiting, size)):
            begun.append(pool.submit(answered, number, batch))
            number += len(batch)
            if len(begun) > threads + _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
