"""The predictor: images in, class probabilities out, one by one or millions into a file, without torch."""

from pictorch.predictor.predictor import (
    Prediction,
    Predictions,
    Predictor,
    Verification,
    load,
    predict,
    verify,
)

__all__ = ["Prediction", "Predictions", "Predictor", "Verification", "load", "predict", "verify"]
