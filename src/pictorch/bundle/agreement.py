"""How two sets of probabilities for the same images agree: the gate of export and of golden samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
TIE = 1e-6
FEWEST_IMAGES = 1000  # that two forms of a model are compared on, where there are as many


@dataclass(frozen=True)
class Agreement:
    """The largest difference over `n` images, and the number of images whose top classes differ."""

    n: int
    largest_difference: float
    top1_differences: int
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether all lie within the tolerance and every top class is equal; NaN never is."""
        return self.largest_difference <= self.tolerance and self.top1_differences == 0

    def in_words(self) -> str:
        """Returns the numbers as a phrase."""
        return (
            f"largest difference {self.largest_difference:.3g}, allowed {self.tolerance:g}; "
            f"{self.top1_differences:,} of {self.n:,} top classes differ"
        )


def tie_margin(tolerance: float) -> float:
    """Returns how far apart two classes may be for their order not to count, with this tolerance."""
    return TIE if tolerance == TOLERANCE else tolerance


def compare(
    expected: NDArray[np.float32], found: NDArray[np.float32], tolerance: float = TOLERANCE
) -> Agreement:
    """Returns how `found` (N, C) agrees with `expected` (N, C), N at least 1.

    Where the top classes differ, but `expected` sets the two less than TIE apart, it is a tie; with a wider
    tolerance than TOLERANCE, less than that tolerance apart.
    """
    tie = tie_margin(tolerance)
    rows = np.arange(len(expected))
    expected_top, found_top = expected.argmax(axis=1), found.argmax(axis=1)
    margin = expected[rows, expected_top] - expected[rows, found_top]
    largest = float(np.abs(expected - found).max())
    return Agreement(len(expected), largest, int(np.sum(~(margin < tie))), tolerance)
