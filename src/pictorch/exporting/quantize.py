"""The int8 form: a bundle of 8-bit integers, measured beside the float one before it is written.

Ranges come from training images, the verdict from validation images. Neither is chosen at random: equal
images and an equal graph give equal bytes on one kind of machine.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.bundle import Bundle, BundleFacts, write_bundle
from pictorch.bundle.agreement import Agreement, compare
from pictorch.bundle.bundle import CARD, GOLDEN, MODEL, SCORES, golden_bytes
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.datasets import Splits
from pictorch.datasets.sources import SOURCES
from pictorch.errors import GateError, RecipeError
from pictorch.exporting.forms import FormSource
from pictorch.exporting.int8_graph import CALIBRATIONS, folded, int8_bytes
from pictorch.exporting.model_card import RunFacts, model_card
from pictorch.exporting.speed import call_seconds
from pictorch.formats import count, percent, percent_range
from pictorch.host import instruction_sets, usable_cpus
from pictorch.metrics.scores import Scores, score
from pictorch.views import logarithms

CALIBRATION_IMAGES = 512
MOST_POINTS_LOST = 0.005  # of the accuracy, a fraction
FEWEST_EQUAL = 0.99  # of the top classes
GOLDEN_TOLERANCE = 0.05

_SPEED_BATCH = 64  # images


@dataclass(frozen=True)
class _Judged:
    """An int8 graph with what it answered: its scores on validation images, and how like the float one."""

    graph: bytes
    calibration: str
    scores: Scores
    agreement: Agreement

    @property
    def share_equal(self) -> float:
        return 1 - self.agreement.top1_differences / self.agreement.n

    def fault(self, before: Scores) -> str | None:
        """Returns what is not good enough, None where all is."""
        if before.accuracy - self.scores.accuracy > MOST_POINTS_LOST:
            return (
                f"the accuracy on {before.n:,} validation images falls from {percent(before.accuracy)} to "
                f"{percent(self.scores.accuracy)}, by more than {100 * MOST_POINTS_LOST:g} points"
            )
        if self.share_equal < FEWEST_EQUAL:
            return (
                f"only {percent(self.share_equal)} of {self.agreement.n:,} images keep their top class, "
                f"{percent(FEWEST_EQUAL, 0)} have to"
            )
        return None


def make(source: FormSource, target: Path) -> Bundle:
    """Writes the int8 bundle of a float one and returns it as read back; tells size, speed and accuracy.

    Raises RecipeError without the images or where the bundle is int8 already; GateError where there are no
    validation images, where accuracy falls by more than MOST_POINTS_LOST, or where fewer than FEWEST_EQUAL
    of the images keep their top class, whatever the calibration; then nothing is written.
    """
    bundle, splits = source.bundle, _splits_of(source)
    model = bundle.model()
    expected = _answers(model, source)
    before = _scores(expected, splits)
    judged = _first_good(source, splits, expected, before)
    facts = replace(
        bundle.facts,
        metrics=_metrics(bundle.facts, judged.scores),
        quantization=_quantization(bundle, splits, judged, before),
        golden_tolerance=GOLDEN_TOLERANCE,
    )
    images = bundle.golden()[0]
    # One thread, as where the float bundle's golden samples were answered.
    golden = golden_bytes(images, _open(bundle, judged.graph, threads=1).probabilities(images))
    card = model_card(facts, _told(facts, splits, judged.scores), golden_images=len(images),
                      parity_images=judged.agreement.n)  # fmt: skip
    files = {MODEL: judged.graph, GOLDEN: golden, CARD: card.encode()}
    quantized = _open(bundle, judged.graph)
    Bundle(target, facts, files).replay(quantized)
    _tell(source, judged, before, model, quantized)
    return write_bundle(target, facts, files)


def _splits_of(source: FormSource) -> Splits:
    bundle, splits = source.bundle, source.splits
    if bundle.facts.quantization is not None:
        raise RecipeError(f"{bundle.path} is int8 already; give the float bundle, or the run")
    if splits is None:
        raise RecipeError(
            f"--to int8 takes ranges from training images and the verdict from validation images; "
            f"say where those of {bundle.path} lie with --data SOURCE"
        )
    if splits.val is None:
        raise GateError(
            f"{splits.origin} has no validation images to show what int8 costs (data.val_fraction is 0); "
            "train with `--set data.val_fraction=0.1`, or ship the float bundle"
        )
    return splits


def _first_good(source: FormSource, splits: Splits, expected: NDArray[np.float32], before: Scores) -> _Judged:
    """Returns the graph of the first calibration that passes; raises GateError with the last one's fault."""
    if splits.fingerprint != source.bundle.facts.data_fingerprint:
        source.progress(
            f"{splits.origin} holds other images than those that {source.bundle.path} learned from"
        )
    images = _calibration_images(splits)
    source.progress(f"folding batch norms, calibrating on {len(images):,} training images")
    plain = folded(source.bundle.files[MODEL])
    for calibration in CALIBRATIONS:
        graph = int8_bytes(plain, images, calibration)
        found = _answers(_open(source.bundle, graph), source)
        judged = _Judged(graph, calibration, _scores(found, splits), compare(expected, found))
        fault = judged.fault(before)
        if fault is None:
            return judged
        source.progress(f"calibration {calibration}: {fault}")
    raise GateError(f"no int8 bundle was written: {fault}; ship the float bundle, or train longer first")


def _calibration_images(splits: Splits) -> NDArray[np.uint8]:
    """Returns evenly spaced training images, which a folder in its order spreads over the classes."""
    rows = splits.train.indices
    number = min(CALIBRATION_IMAGES, len(rows))
    return np.ascontiguousarray(splits.train.images[rows[np.arange(number) * len(rows) // number]])


def _answers(model: OnnxModel, source: FormSource) -> NDArray[np.float32]:
    """Returns the probabilities of the images that forms are compared on, validation images first."""
    return np.concatenate([model.probabilities(images) for images in source.images()])


def _scores(probabilities: NDArray[np.float32], splits: Splits) -> Scores:
    assert splits.val is not None
    labels = splits.val.labels[splits.val.indices]
    return score(logarithms(probabilities[: len(labels)]), labels, splits.class_names)


def _open(bundle: Bundle, graph: bytes, threads: int | None = None) -> OnnxModel:
    return replace(bundle, files={**bundle.files, MODEL: graph}).model(threads)


def _metrics(facts: BundleFacts, scores: Scores) -> dict[str, Any]:
    """Returns the openings of the test images and what the int8 graph itself scored; the rest was float."""
    val = {key: getattr(scores, key) for key in SCORES}
    return {"test_openings": facts.metrics["test_openings"], "val": val}


def _quantization(bundle: Bundle, splits: Splits, judged: _Judged, before: Scores) -> dict[str, Any]:
    return {
        "weights": "int8 in 7 bits, a scale for each output channel",
        "activations": "uint8, a scale for each tensor",
        "calibration": judged.calibration,
        "calibration_images": min(CALIBRATION_IMAGES, len(splits.train)),
        "data_fingerprint": splits.fingerprint,
        "float": {
            "model_bytes": len(bundle.files[MODEL]),
            "model_sha256": hashlib.sha256(bundle.files[MODEL]).hexdigest(),
            "n": before.n,
            "accuracy": before.accuracy,
            "accuracy_interval": before.accuracy_interval,
        },
        "compared_n": judged.agreement.n,
        "equal_top1": judged.share_equal,
        "largest_difference": judged.agreement.largest_difference,
    }


def _told(facts: BundleFacts, splits: Splits, scores: Scores) -> RunFacts:
    name = facts.recipe["data"].get("source")
    counts = {split: len(images) for split, images in splits.named().items()}
    return RunFacts(name if name in SOURCES else None, counts, scores.per_class)


def _tell(
    source: FormSource, judged: _Judged, before: Scores, model: OnnxModel, quantized: OnnxModel
) -> None:
    """Tells size, images/s and accuracy of both; the images are golden samples, over and over."""
    batch = np.resize(source.bundle.golden()[0], (_SPEED_BATCH, *source.bundle.golden()[0].shape[1:]))
    taken = call_seconds(
        {"float": lambda: model.probabilities(batch), "int8": lambda: quantized.probabilities(batch)}
    )
    speeds = {name: _SPEED_BATCH / median(seconds) for name, seconds in taken.items()}
    sizes = len(source.bundle.files[MODEL]), len(judged.graph)
    vnni = "with" if "avx512_vnni" in instruction_sets() else "without"
    source.progress(
        f"size: {sizes[0] / 1e6:.2f} MB before, {sizes[1] / 1e6:.2f} MB after "
        f"({percent(sizes[1] / sizes[0], 0)})"
    )
    source.progress(
        f"speed: {count(speeds['float'])} images/s before, {count(speeds['int8'])} after "
        f"({speeds['int8'] / speeds['float']:.2f} times; batches of {_SPEED_BATCH}, threads: "
        f"{usable_cpus()}, a CPU {vnni} VNNI)"
    )
    source.progress(
        f"accuracy: {_accuracy(before)} before, {_accuracy(judged.scores)} after, n = {before.n:,} "
        "validation images"
    )
    source.progress(
        f"same top class on {percent(judged.share_equal)} of {judged.agreement.n:,} images; "
        f"calibration {judged.calibration}"
    )


def _accuracy(scores: Scores) -> str:
    return f"{percent(scores.accuracy)} (95 % interval {percent_range(*scores.accuracy_interval)})"
