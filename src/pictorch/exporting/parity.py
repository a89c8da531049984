"""The gate of export: PyTorch and ONNX Runtime must agree on the run's own images."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pictorch.bundle.agreement import FEWEST_IMAGES, Agreement, compare
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.datasets import ImageSet, Splits
from pictorch.errors import GateError

_BATCH_SIZE = 100


def check_parity(network: nn.Module, model: OnnxModel, splits: Splits) -> Agreement:
    """Returns how float32 PyTorch and ONNX Runtime agree; raises GateError where they do not.

    Compared are all validation images, filled up from evenly spaced training images to
    FEWEST_IMAGES, or all where there are fewer. `network` gives probabilities.
    """
    expected, found = [], []
    for images in _batches(splits):
        with torch.inference_mode():
            expected.append(network(torch.from_numpy(images)).numpy())
        found.append(model.probabilities(images))
    agreement = compare(np.concatenate(expected), np.concatenate(found))
    if not agreement.ok:
        raise GateError(
            f"the exported graph does not agree with PyTorch on {agreement.n:,} images "
            f"({agreement.in_words()}); no bundle was written, try another --checkpoint"
        )
    return agreement


def parity_rows(splits: Splits) -> list[tuple[ImageSet, NDArray[np.int64]]]:
    """Returns the sets to compare on, each with the rows of its store."""
    chosen = [(splits.val, splits.val.indices)] if splits.val is not None else []
    missing = FEWEST_IMAGES - sum(len(rows) for _, rows in chosen)
    if missing > 0:
        rows = splits.train.indices
        count = min(missing, len(rows))
        chosen.append((splits.train, rows[np.arange(count) * len(rows) // max(count, 1)]))
    return chosen


def _batches(splits: Splits) -> Iterator[NDArray[np.uint8]]:
    for images, rows in parity_rows(splits):
        for start in range(0, len(rows), _BATCH_SIZE):
            yield np.ascontiguousarray(images.images[rows[start : start + _BATCH_SIZE]])
