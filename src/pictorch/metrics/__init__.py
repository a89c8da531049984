"""What a network's outputs are worth, computed from stored logits and labels."""

from pictorch.metrics.interval import wilson_interval
from pictorch.metrics.scores import (
    Scores,
    class_fractions,
    confusion_counts,
    hits,
    loss_and_accuracy,
    most_confident_mistakes,
    score,
)
from pictorch.softmax import probabilities

__all__ = [
    "Scores",
    "class_fractions",
    "confusion_counts",
    "hits",
    "loss_and_accuracy",
    "most_confident_mistakes",
    "probabilities",
    "score",
    "wilson_interval",
]
