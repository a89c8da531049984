"""Evaluation: a run or a bundle, judged on images that it was not trained on."""
