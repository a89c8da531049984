"""How fast several models answer beside each other, so that what else the machine does falls on all."""

import time
from collections.abc import Callable, Mapping

ROUNDS, ROUND_SECONDS = 7, 0.3

_WARM_UP = 3


def call_seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Returns the seconds of each call, which take turns: in each round every one for ROUND_SECONDS.

    Each is called at least once a round, after a warm-up that is not timed.
    """
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            end = time.perf_counter() + ROUND_SECONDS
            while True:
                start = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - start)
                if time.perf_counter() >= end:
                    break
    return taken
