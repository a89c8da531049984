"""Images that nobody took: smooth patches of colour with grain, to compare answers on where others lack."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pictorch.randomness import Purpose, reals, words

_CELLS = (2, 3, 4, 6, 9, 14)  # patches along a side
_COLORS_DRAW, _GRAIN_DRAW = 0, 1
_GRAIN = 40  # largest deviation of a pixel, of 255
_CHUNK = 50  # images


def made_images(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """Yields `count` images, uint8 (k, size, size, 3): the same ones for ever.

    Each blends random colours on a grid of 2 x 2 to 14 x 14, so gradients are among them, and every second
    one has grain, shifted from one to the next.
    """
    grain = (_uniform(0, size * size * 3, _GRAIN_DRAW).reshape(size, size, 3) * 2 - 1) * _GRAIN
    most = max(_CELLS) ** 2 * 3
    for start in range(0, count, _CHUNK):
        numbers = range(start, min(start + _CHUNK, count))
        colors = _uniform(start * most, len(numbers) * most, _COLORS_DRAW).reshape(len(numbers), most) * 255
        images = []
        for number, row in zip(numbers, colors, strict=True):
            cells = _CELLS[number % len(_CELLS)]
            pixels = _blended(row[: cells * cells * 3].reshape(cells, cells, 3), size)
            if number % 2:
                pixels += np.roll(grain, number, axis=(0, 1))
            images.append(pixels.round().clip(0, 255).astype(np.uint8))
        yield np.stack(images)


def _blended(colors: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns colours (cells, cells, 3) with what lies between them, (size, size, 3)."""
    cells = len(colors)
    shares = _shares(cells, size)
    rows = (shares @ colors.reshape(cells, cells * 3)).reshape(size, cells, 3)
    pixels: NDArray[np.float64] = np.matmul(shares, rows)
    return pixels


@cache
def _shares(cells: int, size: int) -> NDArray[np.float64]:
    """Returns what each pixel of a side takes from each patch, (size, cells)."""
    places = np.linspace(0, cells - 1, size)
    shares: NDArray[np.float64] = np.clip(1 - np.abs(places[:, np.newaxis] - np.arange(cells)), 0, None)
    return shares


def _uniform(first: int, count: int, draw: int) -> NDArray[np.float64]:
    """Returns `count` numbers between 0 and 1 of the row `draw`, from the `first` on, a multiple of 4."""
    drawn = words(0, Purpose.MADE_IMAGES, np.arange(first // 4, (first + count + 3) // 4), epoch=draw)
    return reals(drawn.ravel()[:count], 0, 1)
