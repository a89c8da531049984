"""Which rows a division takes from the training images: a share of each class, groups never divided."""

import math
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from pictorch.datasets.contents import Groups, Labels

Rows = NDArray[np.int64]


def taken_rows(labels: Labels, order: Rows, fraction: float, groups: Groups | None) -> Rows:
    """Returns the rows that are taken from those in `order`, sorted: from each class its first ones.

    At least one of each class is taken, and at least one stays. With `groups` whole groups are taken in
    their order: those that fit into what the classes lack, then those that bring the classes nearer to
    their shares, then of each class that got none the group that disturbs the shares least. A class of a
    single group stays whole.
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
    taken: set[int] = set()

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

    for group, classes in counts.items():
        if all(missing[label] >= n for label, n in classes.items()) and can_go(group):
            take(group)
    for group in counts:
        if gain(group) > 0 and can_go(group):
            take(group)
    having: dict[int, list[int]] = defaultdict(list)
    for group, classes in counts.items():
        for label in classes:
            having[label].append(group)
    for label in sorted(having):
        if taken.isdisjoint(having[label]) and (
            fitting := [group for group in having[label] if can_go(group)]
        ):
            take(max(fitting, key=gain))
    return np.sort(order[np.isin(groups[order], np.array(sorted(taken), dtype=np.int64))])
