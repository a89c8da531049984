"""The images that a bundle is judged on or remade from: divided and fitted as its training had them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pictorch.bundle import Bundle
from pictorch.datasets.arrays import SourceRef, source_name
from pictorch.datasets.splits import Splits, load_splits
from pictorch.errors import DataError, listed
from pictorch.recipe import DataSection


def splits_of_bundle(bundle: Bundle, data: SourceRef, progress: Callable[[str], None]) -> Splits:
    """Returns the splits of `data` as the bundle's recipe divides them, in the bundle's stored size.

    Raises DataError for other classes than the bundle's, and for images that are too small.
    """
    name = source_name(data)
    # As the model sees them; the root of a list that training read is of another machine.
    own = {"image_size": bundle.input.image_size, "fit": bundle.input.fit, "root": None}
    section = DataSection.model_validate({**bundle.recipe["data"], **own})
    splits = load_splits(section, progress, data)
    found, known = set(splits.class_names), set(bundle.class_names)
    if found != known:
        raise DataError(
            f"{name} has other classes than {bundle.path} (lacks: {listed(sorted(known - found)) or 'none'}; "
            f"adds: {listed(sorted(found - known)) or 'none'}); rename its classes"
        )
    if splits.input.stored_size != bundle.input.stored_size:
        raise DataError(
            f"{name} holds images of {splits.input.stored_size} pixels, but {bundle.path} takes "
            f"{bundle.input.stored_size}; give the images in their full size"
        )
    return splits if splits.class_names == bundle.class_names else _numbered_as(bundle.class_names, splits)


def _numbered_as(class_names: tuple[str, ...], splits: Splits) -> Splits:
    """Returns the splits with labels in the order of a model's outputs, which an imported one chose."""
    place = {name: number for number, name in enumerate(class_names)}
    numbers = np.array([place[name] for name in splits.class_names])
    sets: dict[str, Any] = {
        name: replace(split, labels=numbers[split.labels]) for name, split in splits.named().items()
    }
    return replace(splits, class_names=class_names, **sets)
