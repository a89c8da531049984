"""Work of the next steps done by one thread while a step runs."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Prefetcher(Generic[Key, Result]):
    """Results of `work`, which depends on its argument alone, made ahead; as a context it ends its thread.

    What `work` raises in the thread is raised where its result is asked for.
    """

    def __init__(self, work: Callable[[Key], Result]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "pictorch-prefetch")
        self._coming: dict[Key, Future[Result]] = {}

    def __enter__(self) -> "Prefetcher[Key, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._coming.clear()
        self._thread.shutdown(cancel_futures=True)

    def result(self, key: Key, following: Sequence[Key]) -> Result:
        """Returns work(key), waiting for it, and has that of `following` made next; others are dropped."""
        for old in self._coming.keys() - {key, *following}:
            self._coming.pop(old).cancel()
        for one in (key, *following):
            if one not in self._coming:
                self._coming[one] = self._thread.submit(self._work, one)
        return self._coming.pop(key).result()
