"""Judges a checkpoint of a run, or a bundle, on the validation or the test images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch import durable
from pictorch.bundle import is_bundle, open_bundle
from pictorch.datasets import ImageSet, SourceRef, Splits, load_splits
from pictorch.datasets.of_bundle import splits_of_bundle
from pictorch.errors import DataError, RecipeError, unknown
from pictorch.metrics.scores import hits, most_confident_mistakes, score
from pictorch.networks import OwnNetwork
from pictorch.predictor import Predictor
from pictorch.run_folder import Evaluation, RunFolder
from pictorch.run_records import npz_bytes
from pictorch.training.checkpoint import checkpoint_record, load_network
from pictorch.training.console import Console
from pictorch.training.runtime import evaluation_memory_explained, resolve_runtime
from pictorch.training.start import check_same_data
from pictorch.training.validation import predict_logits
from pictorch.views import IMAGE, NO_VIEWS, VIEWS, View, ViewChoice, ViewScores, logarithms

SPLITS = ("val", "test")
_KEPT_HITS = 24
_CHUNK = 640  # images, a multiple of the predictor's batch

Answer = Callable[[ImageSet, View], NDArray[np.float32]]  # logits (N, C) of a view of each image


def evaluate(
    source: str | Path,
    *,
    split: str = "val",
    checkpoint: str | None = None,
    data: SourceRef | None = None,
    out: str | Path | None = None,
    model: OwnNetwork | None = None,
    views: str = NO_VIEWS,
    views_below: float | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Returns accuracy, loss and per-class scores of a run's checkpoint, or of a bundle.

    A run keeps them with the logits, and counts each opening of its test set; `checkpoint` is best
    unless named, last where there is no best. A bundle needs `data` and `out`, the folder that gets
    the result, and stays as it is. `split` is 'val' or 'test'. Images and a network that training was
    given in Python are given again, as `data` and `model`.

    `views` (flip or flip_shift) judges once more the mean of what is answered to several views of each
    image, or, with `views_below`, of those whose top probability is lower. It stands in `views` of the
    result; everything else is of the images alone.
    """
    console, choice = console or Console("quiet"), ViewChoice(views, views_below)
    if split not in SPLITS:
        raise RecipeError(unknown("split", split, SPLITS))
    if is_bundle(source):
        if data is None or out is None or checkpoint is not None or model is not None:
            raise RecipeError(
                f"{source} is a bundle, which holds no images, one checkpoint and its network; "
                "give --data SOURCE and --out DIR, and leave out --checkpoint and model="
            )
        if Path(source).resolve() in (Path(out).resolve(), *Path(out).resolve().parents):
            raise RecipeError(f"--out {out} lies in the bundle, which never changes; choose another folder")
        return _evaluate_bundle(Path(source), split, data, Path(out), choice, console)
    if out is not None:
        raise RecipeError(f"--out {out}: a run keeps its evaluation in its own folder; leave out --out")
    run = RunFolder.open(source)
    with run.lock(), console.recorded():
        console.keep_log(run.log_path)
        return _evaluate_run(run, split, checkpoint, data, model, choice, console)


def _evaluate_run(
    run: RunFolder,
    split: str,
    checkpoint: str | None,
    data: SourceRef | None,
    model: OwnNetwork | None,
    choice: ViewChoice,
    console: Console,
) -> Evaluation:
    recipe = run.recipe()
    name = run.choose_checkpoint(checkpoint)
    splits = load_splits(recipe.data, console.line, data)
    check_same_data(run, splits)
    image_set = choose_split(splits, split)
    runtime = resolve_runtime(recipe.train, any_device=True)
    network = load_network(run, name, runtime.dtype, model, console.line)
    runtime.place(network)
    openings = run.count_test_opening() if split == "test" else int(run.data()["test_openings"])
    console.detail(f"judging checkpoint {name} on {len(image_set):,} images, device {runtime.device.type}")

    def answer(images: ImageSet, view: View) -> NDArray[np.float32]:
        batch_size = recipe.train.eval_batch_size
        return predict_logits(network, images, batch_size=batch_size, device=runtime.device, view=view)

    with evaluation_memory_explained(recipe.train, runtime.device), runtime.applied():
        evaluation, arrays = judge(
            answer,
            image_set,
            splits.class_names,
            choice,
            split=split,
            checkpoint=name,
            step=checkpoint_record(run, name)[0],
            test_openings=openings,
        )
    run.write_evaluation(evaluation, arrays)
    several = evaluation.views
    console.log(
        f"{split} accuracy {evaluation.accuracy:.2%} (n = {evaluation.n:,}, checkpoint {name}, "
        f"test openings {openings})"
        + (f"; {several.accuracy:.2%} with views {several.in_words()}" if several else "")
    )
    return evaluation


def _evaluate_bundle(
    path: Path, split: str, data: SourceRef, out: Path, choice: ViewChoice, console: Console
) -> Evaluation:
    predictor = Predictor(open_bundle(path))
    bundle = predictor.bundle
    predictor.check_views(choice)
    splits = splits_of_bundle(bundle, data, console.line)
    image_set = choose_split(splits, split)

    def answer(images: ImageSet, view: View) -> NDArray[np.float32]:
        starts = range(0, len(images), _CHUNK)
        chunks = [images.images[images.indices[start : start + _CHUNK]] for start in starts]
        return logarithms(np.concatenate([predictor.probabilities(chunk, view=view) for chunk in chunks]))

    evaluation, arrays = judge(
        answer,
        image_set,
        splits.class_names,
        choice,
        split=split,
        checkpoint=bundle.checkpoint,
        step=None,
        test_openings=bundle.facts.metrics["test_openings"] + int(split == "test"),
    )
    durable.write_bytes(out / f"{split}.npz", npz_bytes(arrays))
    durable.write_json(out / f"{split}.json", evaluation.to_json())
    return evaluation


def choose_split(splits: Splits, split: str) -> ImageSet:
    """Returns the named part; raises DataError when the data has none."""
    image_set = splits.val if split == "val" else splits.test
    if image_set is None:
        other = "test" if split == "val" else "val"
        remedy = f"train again with `--set data.{split}_fraction=0.1`"
        if other in splits.named():
            remedy = f"use `--split {other}`, or {remedy}"
        raise DataError(
            f"{splits.origin} has no {split} images, since data.{split}_fraction is 0 in the recipe; {remedy}"
        )
    return image_set


def judge(
    answer: Answer,
    image_set: ImageSet,
    class_names: tuple[str, ...],
    choice: ViewChoice,
    **context: Any,
) -> tuple[Evaluation, dict[str, NDArray[Any]]]:
    """Returns the evaluation and the arrays that it can be computed again from, with some pictures:
    the most confident mistakes, the least certain hits, and the hit of middling confidence.

    `context` is the rest of the record: split, checkpoint, step, test_openings.
    """
    logits, labels = answer(image_set, IMAGE), image_set.labels[image_set.indices]
    assert len(logits) == len(labels), (len(logits), len(labels))
    evaluation = Evaluation(**context, **vars(score(logits, labels, class_names)))
    arrays: dict[str, NDArray[Any]] = {"logits": logits, "labels": labels}
    right = hits(logits, labels)
    middle = len(right) // 2
    for kind, rows in {
        "mistake": most_confident_mistakes(logits, labels),
        "hit": right[:_KEPT_HITS],
        "typical": right[middle : middle + 1],
    }.items():
        arrays[f"{kind}s"] = rows
        arrays[f"{kind}_images"] = image_set.images[image_set.indices[rows]]
    if choice.name == NO_VIEWS:
        return evaluation, arrays

    def answer_rows(view: View, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return answer(replace(image_set, indices=image_set.indices[rows]), view)

    arrays["views_logits"], rows = choice.mean_logits(logits, answer_rows)
    scores, share = score(arrays["views_logits"], labels, class_names), len(rows) / len(labels)
    return replace(
        evaluation,
        views=ViewScores(
            name=choice.name,
            below=choice.below,
            accuracy=scores.accuracy,
            accuracy_interval=scores.accuracy_interval,
            loss=scores.loss,
            top5=scores.top5,
            share=share,
            passes_per_image=1 + share * (len(VIEWS[choice.name]) - 1),
        ),
    ), arrays
