"""Which rows a division takes from the training images: a share of each class, groups never divided."""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.contents import Groups, Labels

Rows = NDArray[np.int64]


def taken_rows(labels: Labels, order: Rows, fraction: float, groups: Groups | None) -> Rows:
    """Returns the rows that are taken from those in `order`, sorted: from each class its first ones.

    At least one of each class is taken, and at least one stays. With `groups` whole groups are taken, the
    first of the order that bring the classes nearer to their shares, and then of each class that got none
    the group that disturbs the shares least. A class of a single group stays whole.
    """
    if groups is not None:
        return _rows_of_groups(labels, order, fraction, groups)
    labels = labels[order]
    taken = [
        members[: _share(len(members), fraction)]
        for members in (order[labels == label] for label in np.unique(labels))
    ]
    return np.sort(np.concatenate(taken))


def _share(count: int, fraction: float) -> int:
    """Returns how many of a class are taken: rounded, but at least one, and one must stay."""
    return min(max(math.floor(count * fraction + 0.5), 1), count - 1)


def _rows_of_groups(labels: Labels, order: Rows, fraction: float, groups: Groups) -> Rows:
    counts: dict[int, Counter[int]] = {}  # by group in the order of its first row: images of each class
    for group, label in zip(groups[order].tolist(), labels[order].tolist(), strict=True):
        counts.setdefault(group, Counter())[label] += 1
    stays = Counter(labels[order].tolist())
    missing = {label: _share(count, fraction) for label, count in stays.items()}
    taken = set()

    def can_go(group: int) -> bool:
        return group not in taken and all(stays[label] > n for label, n in counts[group].items())

    def gain(group: int) -> int:
        """How much nearer the classes come to their shares, in images."""
        return sum(abs(missing[label]) - abs(missing[label] - n) for label, n in counts[group].items())

    def take(group: int) -> None:
        taken.add(group)
        stays.subtract(counts[group])
        for label, n in counts[group].items():
            missing[label] -= n

    for group in counts:
        if gain(group) > 0 and can_go(group):
            take(group)
    without = sorted(missing.keys() - {label for group in taken for label in counts[group]})
    for label in without:
        fitting = [group for group in counts if label in counts[group] and can_go(group)]
        if fitting and not any(label in counts[group] for group in taken):
            take(max(fitting, key=gain))
    return np.sort(order[np.isin(groups[order], np.array(sorted(taken), dtype=np.int64))])
