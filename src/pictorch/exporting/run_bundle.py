"""Makes the bundle of a run: graph, parity with PyTorch, golden samples, card; nothing is written here."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pictorch.bundle.bundle import CARD, GOLDEN, MODEL, SCORES, Bundle, BundleFacts, golden_bytes
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.datasets import SourceRef, Splits, load_splits
from pictorch.datasets.arrays import ARRAYS
from pictorch.datasets.sources import SOURCES
from pictorch.exporting.golden import golden_images
from pictorch.exporting.model_card import LICENCE, RunFacts, model_card
from pictorch.exporting.onnx_graph import OPSET, ClassProbabilities, onnx_bytes
from pictorch.exporting.parity import check_parity
from pictorch.metrics.interval import wilson_interval
from pictorch.networks import OwnNetwork
from pictorch.networks.zoo import is_own
from pictorch.recipe import Recipe
from pictorch.run_folder import ClassScore, RunFolder
from pictorch.training.checkpoint import checkpoint_record, load_network
from pictorch.training.start import check_same_data
from pictorch.views import NO_VIEWS, ViewChoice


@dataclass(frozen=True)
class MadeBundle:
    """What a bundle is written from, once it has passed the gate, and what it was made of."""

    facts: BundleFacts
    files: dict[str, bytes]
    splits: Splits
    network: ClassProbabilities


def make_bundle(
    run: RunFolder,
    *,
    checkpoint: str | None,
    data: SourceRef | None,
    model: OwnNetwork | None,
    views: str,
    progress: Callable[[str], None],
) -> MadeBundle:
    """Returns the bundle of a run's checkpoint, to be written; its lock is held by the caller.

    Raises DataError for other images than the run's, GateError where ONNX and PyTorch disagree,
    RecipeError for unknown views and a network that ONNX has no form for, CheckpointError.
    """
    choice = ViewChoice(views)
    name = run.choose_checkpoint(checkpoint)
    recipe = run.recipe()
    splits = _splits_of(run, recipe, data, progress)
    classifier = load_network(run, name, own=model, progress=progress)
    network = ClassProbabilities(classifier, choice.name).eval()

    if views != NO_VIEWS and recipe.augment.flip == "none":
        progress(f"--views {views} mirrors images, and training never did (augment.flip: none)")
    progress(f"writing the graph of checkpoint {name} as ONNX, operator set {OPSET}")
    graph = onnx_bytes(network, splits.input)
    onnx_model = _open(graph, splits, threads=None)
    parity = check_parity(network, onnx_model, splits)
    progress(f"ONNX agrees with PyTorch on {parity.n:,} images ({parity.in_words()})")

    images = golden_images(splits.val if splits.val is not None else splits.train)
    # One thread, so that equal graphs give equal golden bytes on any number of CPUs.
    golden = golden_bytes(images, _open(graph, splits, threads=1).probabilities(images))
    facts = _facts(run, recipe, splits, name, choice.name)
    told = _told(run, recipe, name, facts)
    card = model_card(facts, told, golden_images=len(images), parity_images=parity.n)
    files = {MODEL: graph, GOLDEN: golden, CARD: card.encode()}
    Bundle(run.path, facts, files).replay(onnx_model)
    return MadeBundle(facts, files, splits, network)


def _splits_of(
    run: RunFolder, recipe: Recipe, data: SourceRef | None, progress: Callable[[str], None]
) -> Splits:
    splits = load_splits(recipe.data, progress, data)
    check_same_data(run, splits)
    return splits


def _open(graph: bytes, splits: Splits, threads: int | None) -> OnnxModel:
    return OnnxModel(
        graph, name=MODEL, size=splits.input.stored_size, num_classes=len(splits.class_names),
        threads=threads,
    )  # fmt: skip


def _facts(run: RunFolder, recipe: Recipe, splits: Splits, checkpoint: str, views: str) -> BundleFacts:
    return BundleFacts(
        class_names=splits.class_names,
        input=splits.input,
        recipe=_portable(recipe),
        data_fingerprint=splits.fingerprint,
        checkpoint=checkpoint,
        metrics=_metrics(run, checkpoint, views),
        licence=LICENCE,
        opset=OPSET,
        views=views,
    )


def _told(run: RunFolder, recipe: Recipe, checkpoint: str, facts: BundleFacts) -> RunFacts:
    """Returns what the card tells of the run: the scores of each class are those of these very weights."""
    data, (step, _) = run.data(), checkpoint_record(run, checkpoint)
    source = recipe.data.source if recipe.data.source in SOURCES else None
    for split in ("test", "val"):
        evaluation = run.evaluation(split)
        if evaluation is not None and (evaluation.checkpoint, evaluation.step) == (checkpoint, step):
            return RunFacts(source, data["counts"], evaluation.per_class, split)
    for line in run.epochs():
        if line["step"] == step and (found := line.get("val_classes")):
            counts = data["class_counts"]["val"]
            columns = zip(
                facts.class_names, counts, found["precision"], found["recall"], found["f1"], strict=True
            )
            per_class = [ClassScore(*column, auc=None) for column in columns]
            return RunFacts(source, data["counts"], per_class)
    return RunFacts(source, data["counts"])


def _portable(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as JSON, with the last part of each path in place of the whole.

    Names of the user's own become 'own': a bundle needs no code and tells none.
    """
    record = recipe.model_dump(mode="json")
    for key in ("source", "train", "test", "root"):
        if record["data"][key] is not None:
            record["data"][key] = os.path.basename(os.path.abspath(record["data"][key]))
    if recipe.model.weights is not None:
        record["model"]["weights"] = os.path.basename(recipe.model.weights)
    if recipe.data.source == ARRAYS:
        record["data"]["source"] = "arrays"
    if is_own(recipe.model.name):
        record["model"]["name"] = "own"
    if ":" in recipe.loss.name:
        record["loss"]["name"] = "own"
    return record


def _metrics(run: RunFolder, checkpoint: str, views: str) -> dict[str, Any]:
    """Returns the test openings and the scores of these very weights with these views: without any, those
    that training validated with, and the fuller ones of `evaluate` for the splits that it was asked for.
    """
    data = run.data()
    step, trained = checkpoint_record(run, checkpoint)
    metrics: dict[str, Any] = {"test_openings": data["test_openings"]}
    if views == NO_VIEWS and trained.get("val_accuracy") is not None:
        n = data["counts"]["val"]
        interval = wilson_interval(round(trained["val_accuracy"] * n), n)
        metrics["val"] = {
            "n": n,
            "accuracy": trained["val_accuracy"],
            "accuracy_interval": interval,
            "loss": trained["val_loss"],
        }
    for split in ("val", "test"):
        evaluation = run.evaluation(split)
        if evaluation is not None and (evaluation.checkpoint, evaluation.step) == (checkpoint, step):
            record = evaluation.to_json()
            if views != NO_VIEWS:
                several = record.get("views", {})
                is_of_graph = (several.get("name"), several.get("below")) == (views, None)
                record = {"n": evaluation.n, **several} if is_of_graph else {}
            if record:
                metrics[split] = {key: record[key] for key in SCORES}
    return metrics
