"""Importing: the bundle of another framework's ONNX file, which then works as our own."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pictorch.bundle import Bundle, BundleFacts, write_bundle
from pictorch.bundle.agreement import FEWEST_IMAGES, compare
from pictorch.bundle.bundle import CARD, GOLDEN, MODEL, SCORES, check_target, golden_bytes
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.errors import CheckpointError, DataError, GateError, RecipeError, unknown
from pictorch.exporting.forms import FormSource, unsaid
from pictorch.exporting.golden import GOLDEN_IMAGES, golden_images
from pictorch.exporting.model_card import LICENCE, RunFacts, model_card
from pictorch.images import Fit, InputSpec
from pictorch.importing.class_list import class_list
from pictorch.importing.feed import LAYOUTS, PIXELS, Feed, describe, feed_of
from pictorch.importing.foreign_onnx import ForeignModel, read_foreign
from pictorch.importing.made_images import made_images
from pictorch.importing.wrapped_onnx import wrapped_bytes
from pictorch.recipe import DataSection
from pictorch.softmax import probabilities
from pictorch.views import logarithms

if TYPE_CHECKING:
    from pictorch.datasets import SourceRef, Splits
    from pictorch.metrics.scores import Scores
    from pictorch.training.console import Console

OUTPUTS = ("auto", "logits", "probabilities")
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
IMPORTED = "imported"  # stands where a bundle of ours names the checkpoint

_LARGEST_SIZE = 4096
_BATCH_SIZE = 50
_SUM_TOLERANCE = 0.01  # of probabilities; float16 rounds those of a thousand classes
_LARGEST_GOLDEN_BYTES = 64 * 2**20

Images = Callable[[], Iterator[NDArray[np.uint8]]]


def import_model(
    file: str | Path,
    *,
    classes: str | Path | Sequence[str],
    input_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    pixels: str = "0-1",
    outputs: str = "auto",
    output: str | None = None,
    fit: str = "crop",
    data: "SourceRef | None" = None,
    out: str | Path | None = None,
    console: "Console | None" = None,
) -> Bundle:
    """Writes the bundle of another framework's ONNX classifier and returns it as read back.

    `classes` names the outputs in their order: a file of lines or a JSON list, or the names themselves. The
    bundle takes square images of `input_size` pixels, made so as `fit` says; what the model is fed are their
    pixels in the range `pixels` (0-1 or 0-255), less `mean`, divided by `std`, in its `layout` (nchw or nhwc,
    where its input's shape does not tell). Behind scores that are not probabilities comes a softmax;
    `outputs` says what they are where that is unclear, and `output` which they are. `data` has images of the
    classes to judge it on; without it, images are made. The bundle goes to `out` (beside the file, as
    <its name>-bundle).

    Raises CheckpointError for a file that no bundle may hold, GateError where the bundle would answer
    otherwise than the file, DataError for the class list and the images, RecipeError for options,
    ResourceError.
    """
    path = Path(file)
    _check_options(input_size, layout=layout, pixels=pixels, outputs=outputs, fit=fit)
    target = Path(out) if out is not None else path.with_name(f"{path.stem}-bundle")
    check_target(target)
    progress = console.line if console is not None else unsaid
    names = class_list(classes)
    foreign = read_foreign(path, len(names), output)
    feed = feed_of(foreign, size=input_size, mean=mean, std=std, layout=layout, pixels=pixels)
    spec = InputSpec(input_size, input_size, cast(Fit, fit))
    facts = _facts(path, foreign, feed, names, spec, data)
    splits = _splits(path, facts, data, progress)
    images = partial(_comparison_images, path, facts, splits, progress)

    progress(f"asking {foreign.name} itself")
    scores = _answers(foreign, feed, images, len(names), classes)
    rows = scores.reshape(len(scores), -1)
    softmax = _needs_softmax(rows, outputs, foreign.name)
    expected = probabilities(rows).astype(np.float32) if softmax else rows
    graph = wrapped_bytes(foreign, feed, len(names), softmax=softmax, flatten=scores.ndim != 2)
    found = _gated(foreign, graph, images, expected, input_size)
    progress(f"the bundle's graph answers as {foreign.name} does on {len(found):,} images")
    if data is None:
        progress("no --data: golden samples are made images, and how well it answers is not known")
    judged = _judged(found, splits)
    facts = _completed(facts, softmax, splits, judged)
    return write_bundle(target, facts, _files(graph, facts, splits, judged, len(found)))


def _check_options(input_size: int, **chosen: str | None) -> None:
    known = {"layout": LAYOUTS, "pixels": PIXELS, "outputs": OUTPUTS, "fit": FITS}
    for name, value in chosen.items():
        if value is not None and value not in known[name]:
            raise RecipeError(unknown(f"--{name}", value, known[name]))
    if not 1 <= input_size <= _LARGEST_SIZE:
        raise RecipeError(
            f"--input-size {input_size} is no side of images; give 1 to {_LARGEST_SIZE:,} pixels"
        )


def _facts(
    path: Path, foreign: ForeignModel, feed: Feed, names: tuple[str, ...], spec: InputSpec,
    data: "SourceRef | None",
) -> BundleFacts:  # fmt: skip
    judged_on = None
    if data is not None:
        judged_on = Path(data).absolute().name if isinstance(data, str | Path) else "arrays"
    section = DataSection(source=judged_on, image_size=spec.image_size, fit=spec.fit)
    imported = {
        "file": path.name,
        "sha256": hashlib.sha256(foreign.data).hexdigest(),
        "producer": foreign.producer,
        **describe(feed),
        "judged_on": judged_on,
    }
    return BundleFacts(
        class_names=names,
        input=spec,
        recipe={
            "name": path.stem,
            "data": section.model_dump(mode="json"),
            "model": {"name": IMPORTED},
            "imported": imported,
        },
        data_fingerprint="",
        checkpoint=IMPORTED,
        metrics={"test_openings": 0},
        licence=LICENCE,
        opset=foreign.opset,
    )


def _completed(
    facts: BundleFacts, softmax: bool, splits: "Splits | None", judged: "Scores | None"
) -> BundleFacts:
    """Returns the facts with what was found out about the answers."""
    scored = {"val": {key: getattr(judged, key) for key in SCORES}} if judged is not None else {}
    imported = {**facts.recipe["imported"], "softmax": softmax}
    return replace(
        facts,
        recipe={**facts.recipe, "imported": imported},
        data_fingerprint=splits.fingerprint if splits is not None else "",
        metrics={**facts.metrics, **scored},
    )


def _splits(
    path: Path, facts: BundleFacts, data: "SourceRef | None", progress: Callable[[str], None]
) -> "Splits | None":
    if data is None:
        return None
    from pictorch.datasets.of_bundle import splits_of_bundle

    return splits_of_bundle(Bundle(path, facts, {}), data, progress)


def _comparison_images(
    path: Path, facts: BundleFacts, splits: "Splits | None", progress: Callable[[str], None]
) -> Iterator[NDArray[np.uint8]]:
    """Yields the images that forms are compared on, all validation images first, then made ones."""
    count = 0
    if splits is not None:
        for images in FormSource(Bundle(path, facts, {}), progress, splits).images():
            count += len(images)
            yield images
    yield from made_images(max(0, FEWEST_IMAGES - count), facts.input.stored_size)


def _answers(
    foreign: ForeignModel, feed: Feed, images: Images, num_classes: int, classes: Any
) -> NDArray[np.float32]:
    """Returns the file's own scores, float32 (N, C, ...); raises CheckpointError, DataError."""
    parts = []
    for chunk in images():
        step = feed.batch or _BATCH_SIZE
        for start in range(0, len(chunk), step):
            fed = feed.arrays(chunk[start : start + step])
            part, rows = foreign.answers(fed, feed.size), len(fed)
            if part.ndim == 0 or len(part) != rows:
                raise CheckpointError(
                    f"{foreign.name} gives scores of the shape {part.shape} for {rows} images; export it "
                    "again with a row for each image"
                )
            if part.size != rows * num_classes:
                where = classes if isinstance(classes, str | Path) else "classes"
                raise DataError(
                    f"{foreign.name} gives {part.size // rows:,} scores for an image, but {where} names "
                    f"{num_classes:,} classes; name each output, in their order"
                )
            parts.append(part)
    return np.concatenate(parts)


def _needs_softmax(scores: NDArray[np.float32], outputs: str, name: str) -> bool:
    """Returns whether scores are logits: what is said of them, else what they look like."""
    if not np.isfinite(scores).all():
        raise CheckpointError(
            f"{name} gives scores that are not finite; check --mean, --std and --pixels, or train it again"
        )
    sums = scores.sum(axis=1)
    are_shares = bool((scores >= 0).all() and (scores <= 1).all())
    are_probabilities = are_shares and bool((abs(sums - 1) <= _SUM_TOLERANCE).all())
    if outputs == "probabilities" and not are_probabilities:
        raise RecipeError(
            f"--outputs probabilities: those of {name} lie between {scores.min():.3g} and {scores.max():.3g} "
            f"and sum to {sums.min():.3g} to {sums.max():.3g}; write `--outputs logits`"
        )
    if outputs == "auto" and are_shares and not are_probabilities:
        raise RecipeError(
            f"{name} gives scores between 0 and 1 that do not sum to 1, perhaps of a sigmoid for each class; "
            "a bundle names one class: for a softmax behind them add `--outputs logits`"
        )
    return not are_probabilities if outputs == "auto" else outputs == "logits"


def _gated(
    foreign: ForeignModel, graph: bytes, images: Images, expected: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    """Returns the answers of the bundle's graph; raises GateError unless they are the file's own."""
    try:
        model = OnnxModel(graph, name=MODEL, size=size, num_classes=expected.shape[1])
        found = np.concatenate([model.probabilities(chunk) for chunk in images()])
    except CheckpointError as error:
        reason = str(error).rpartition(";")[0]
        raise CheckpointError(
            f"{foreign.name} cannot be made a bundle ({reason}); export it again "
            "with a dynamic batch dimension"
        ) from None
    agreement = compare(expected, found)
    if not agreement.ok:
        raise GateError(
            f"the bundle would not answer as {foreign.name} itself on {agreement.n:,} images "
            f"({agreement.in_words()}); no bundle was written, export it again with a dynamic batch dimension"
        )
    return found


def _judged(found: NDArray[np.float32], splits: "Splits | None") -> "Scores | None":
    """Returns the scores on the validation images, which are the first that were answered."""
    if splits is None or splits.val is None:
        return None
    from pictorch.metrics.scores import score

    labels = splits.val.labels[splits.val.indices]
    return score(logarithms(found[: len(labels)]), labels, splits.class_names)


def _files(
    graph: bytes, facts: BundleFacts, splits: "Splits | None", judged: "Scores | None", compared: int
) -> dict[str, bytes]:
    size, num_classes = facts.input.stored_size, len(facts.class_names)
    if splits is not None:
        images = golden_images(splits.val if splits.val is not None else splits.train)
    else:
        count = max(1, min(GOLDEN_IMAGES, _LARGEST_GOLDEN_BYTES // (size * size * 3)))
        images = np.concatenate(list(made_images(count, size)))
    # One thread, so that equal graphs give equal golden bytes on any number of CPUs.
    model = OnnxModel(graph, name=MODEL, size=size, num_classes=num_classes, threads=1)
    golden = golden_bytes(images, model.probabilities(images))
    told = RunFacts(
        source=None,
        counts={name: len(split) for name, split in splits.named().items()} if splits is not None else {},
        per_class=judged.per_class if judged is not None else (),
    )
    card = model_card(facts, told, golden_images=len(images), parity_images=compared)
    return {MODEL: graph, GOLDEN: golden, CARD: card.encode()}
