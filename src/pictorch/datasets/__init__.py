"""Images and labels: found, decoded once into a store, and divided into train, val and test."""

from pictorch.datasets.arrays import SourceRef
from pictorch.datasets.splits import ImageSet, Splits, load_splits

__all__ = ["ImageSet", "SourceRef", "Splits", "load_splits"]
