"""How fast bundles answer on this machine's CPU: one image at a time, and many together."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pictorch.host import usable_cpus
from pictorch.predictor import Predictor, load

LATENCY_THREADS, BATCH_SIZE = 1, 64

_ROUNDS, _ROUND_SECONDS, _MOST_CALLS, _WARM_UP = 5, 0.3, 60, 5


@dataclass(frozen=True)
class Speed:
    """Median seconds for one image with one thread, and images/s in batches with `threads` threads.

    `calls` is the number of single images that the median is of.
    """

    latency_seconds: float
    calls: int
    images_per_second: float
    threads: int


def speeds(bundles: Mapping[str, Path]) -> dict[str, Speed]:
    """Returns the speed of each bundle, or of each run's, with ONNX Runtime.

    After a warm-up the bundles take turns, so that what else the machine does falls on all of them.
    """
    threads = usable_cpus()
    single = {name: load(path, threads=LATENCY_THREADS) for name, path in bundles.items()}
    many = {name: load(path, threads=threads) for name, path in bundles.items()}
    for predictors, size in ((single, 1), (many, BATCH_SIZE)):
        for predictor in predictors.values():
            _round(predictor, size, most_calls=_WARM_UP)
    one: dict[str, list[float]] = {name: [] for name in bundles}
    batch: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(_ROUNDS):
        for name in bundles:
            one[name] += _round(single[name], 1)
            batch[name] += _round(many[name], BATCH_SIZE)
    return {
        name: Speed(
            statistics.median(one[name]),
            len(one[name]),
            BATCH_SIZE / statistics.median(batch[name]),
            threads,
        )
        for name in bundles
    }


def _round(predictor: Predictor, size: int, most_calls: int = _MOST_CALLS) -> list[float]:
    """Returns the seconds of each call with `size` images, for a short while and at least one."""
    golden, _ = predictor.bundle.golden()
    images = np.resize(golden, (size, *golden.shape[1:]))
    seconds: list[float] = []
    end = time.perf_counter() + _ROUND_SECONDS
    while not seconds or (len(seconds) < most_calls and time.perf_counter() < end):
        start = time.perf_counter()
        predictor.probabilities(images, size)
        seconds.append(time.perf_counter() - start)
    return seconds
