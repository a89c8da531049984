"""The uncertainty of an accuracy: counted on a finite number of images, or a mean over seeds."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, mean, stdev


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the score interval (low, high), as fractions, for `correct` successes in `n` trials.

    It stays inside [0, 1] and is honest near 0 and 1, where the usual normal interval is not
    (E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22, 1927). No trial at all tells nothing: (0, 1).
    """
    assert 0 <= correct <= n
    assert 0 < confidence < 1
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    fraction = correct / n
    centre = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the fraction or out of [0, 1].
    return max(0.0, min(centre - half, fraction)), min(1.0, max(centre + half, fraction))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Returns the interval (low, high) for the mean that two or more independent values are drawn around.

    It is that of Student's t with n - 1 degrees of freedom ("Student", "The probable error of a mean",
    Biometrika 6, 1908), as wide on both sides; it may leave the range that the values can have.
    """
    from scipy.special import stdtrit  # scikit-learn's, and slower to import than to use

    assert len(values) > 1
    half = float(stdtrit(len(values) - 1, 0.5 + confidence / 2)) * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half
