"""The predictor: images of any size in, class probabilities out, from a bundle and without torch."""

import hashlib
import io
import os
import shlex
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch import durable, notebook
from pictorch.bundle import Bundle, is_bundle, open_bundle
from pictorch.bundle.bundle import MANIFEST
from pictorch.errors import CheckpointError, DataError, RecipeError
from pictorch.host import usable_cpus
from pictorch.images import decode_image, shown, side_in_header
from pictorch.markup import Markup, element
from pictorch.predictor.batches import in_batches
from pictorch.predictor.image_inputs import (
    Given,
    ImageInput,
    Refusal,
    given_files,
    given_images,
    is_one_image,
)
from pictorch.predictor.prediction_file import PredictionFile, Progress, check_name, write_predictions
from pictorch.predictor.prediction_rows import RowFormat, Rows
from pictorch.predictor.shard import Shard
from pictorch.softmax import probabilities
from pictorch.views import IMAGE, NO_VIEWS, VIEWS, View, ViewChoice, logarithms, view_of

_BATCH_SIZE = 32
_SMALL_SIZE, _SMALL_BATCH_SIZE = 64, 64  # of images that go into a file, in pixels, and how many at a time
_MOST_SHOWN = 24
_PICTURE_SIDE = 96


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image; `classes` holds (name, probability), most likely first."""

    source: str
    classes: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str:
        """The most likely class."""
        return self.classes[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most likely class, from 0 to 1."""
        return self.classes[0][1]

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `predict --json` prints it."""
        classes = [{"name": name, "probability": probability} for name, probability in self.classes]
        return {"source": self.source, "classes": classes}

    def _repr_html_(self) -> str:
        return notebook.card(*_shown_answer(self))


class Predictions(list[Prediction]):
    """The predictions of several images: a list, which a notebook shows with the pictures.

    `refused` tells of the files that were found in a folder or by a pattern and are no images.
    """

    def __init__(self, predictions: Iterable[Prediction] = (), refused: Iterable[Refusal] = ()) -> None:
        super().__init__(predictions)
        self.refused = list(refused)

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `predict --json` prints; 'refused' stands there where something was."""
        record = {"predictions": [prediction.to_json() for prediction in self]}
        return record | ({"refused": [each.to_json() for each in self.refused]} if self.refused else {})

    def _repr_html_(self) -> str:
        shown_ones = map(_shown_answer, self[:_MOST_SHOWN])
        answers = (element("div", element("p", name), body) for name, body in shown_ones)
        return notebook.card(f"Predictions for {len(self):,} images", notebook.side_by_side(*answers))


class Predictor:
    """A bundle at work. The golden samples are replayed before it answers anything.

    Raises CheckpointError where the model is not as promised or answers differently on this machine.
    `threads` None means one for each CPU that this process may use.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.bundle = bundle
        self._model = bundle.model(threads)
        self._num_views = len(VIEWS[bundle.facts.views])
        self.golden = bundle.replay(self._model)

    def __call__(
        self,
        images: Iterable[ImageInput],
        top: int = 5,
        views: str = NO_VIEWS,
        views_below: float | None = None,
    ) -> Predictions:
        """Returns a prediction for each image, with its `top` classes at most.

        An image is the path of a file, the bytes of one, a binary file object, a PIL image, or a uint8
        array: (H, W, 3) in RGB, (H, W, 4) with transparency, (H, W) in grey. All are brought to the
        input's size by the same rule. A folder and a pattern stand for the files that they hold, see
        image_inputs; one of them that is no image is told in `refused`. `views` names what each image is
        shown as, with `views_below` only where the image alone gives no class that probability. Raises
        DataError for any other image that is none, RecipeError for the views and a `top` below 1.
        """
        return _collected(self.stream(images, top, views, views_below))

    def stream(
        self,
        images: Iterable[ImageInput],
        top: int = 5,
        views: str = NO_VIEWS,
        views_below: float | None = None,
        shard: str | None = None,
    ) -> Iterator[Prediction | Refusal]:
        """Yields the same, image after image in their order, and a Refusal in place of any that is none.

        Images are taken from `images` when their turn comes, a few batches ahead at most, so there may be
        any number of them. `shard` as '3/16' answers every sixteenth, beginning with the third; DataError
        is raised where that is none.
        """
        choice = self._checked(images, top, ViewChoice(views, views_below))
        yield from self.answers(Shard.parse(shard).of(given_images(images)), top, choice)

    def answers(
        self, images: Iterable[Given], top: int, choice: ViewChoice
    ) -> Iterator[Prediction | Refusal]:
        """Yields the answer to each image."""
        for answered in in_batches(
            images,
            lambda number, batch: self._answered(batch, top, choice),
            size=_BATCH_SIZE,
            threads=usable_cpus(),
        ):
            yield from answered

    def _checked(self, images: Iterable[ImageInput], top: int, choice: ViewChoice) -> ViewChoice:
        if is_one_image(images):
            raise DataError("predictor takes a list of images; put the one into a list: [image]")
        if top < 1:
            raise RecipeError(f"--top {top} shows nothing; ask for at least 1 class")
        self.check_views(choice)
        return choice

    def _answered(self, images: Sequence[Given], top: int, choice: ViewChoice) -> list[Prediction | Refusal]:
        fitted = [image.fitted(self.bundle.input) for image in images]
        pixels = [each for each in fitted if not isinstance(each, Refusal)]
        classes = iter(self._classes(self._answers(np.stack(pixels), choice), top) if pixels else ())
        return [
            each if isinstance(each, Refusal) else Prediction(one.name, next(classes))
            for one, each in zip(images, fitted, strict=True)
        ]

    def write(
        self,
        out: Path,
        images: Iterable[ImageInput],
        top: int,
        choice: ViewChoice,
        shard: Shard,
        progress: Progress,
    ) -> PredictionFile:
        """Writes the answers to a shard of the images into a file, see prediction_file."""
        self._checked(images, top, choice)
        bundle, given = self.bundle, list(images)
        paths = [os.fspath(path) for path in given if isinstance(path, str | os.PathLike)]
        if len(paths) < len(given):
            raise RecipeError(
                "predict(out=...) takes paths, which a stopped call finds again; save the images"
            )
        facts = {
            "bundle_sha256": hashlib.sha256(bundle.files[MANIFEST]).hexdigest(),
            "images": paths,
            "top": top,
            "views": choice.name,
            "views_below": choice.below,
        }
        return write_predictions(
            out,
            facts,
            shard.of(given_files(paths)),
            lambda given, form: self._written(given, top, choice, form),
            shard=shard,
            columns=min(top, len(bundle.class_names)),
            progress=progress,
        )

    def _written(
        self, images: Iterable[Given], top: int, choice: ViewChoice, form: RowFormat
    ) -> Generator[Rows, None, None]:
        """Yields the rows of all images, made where they are answered.

        Of small images Python's own part is large: fewer, larger batches have less of it, and while a thread
        waits for Python's lock another has the CPU. Large ones need the memory instead.
        """
        is_small = self.bundle.input.image_size <= _SMALL_SIZE
        return in_batches(
            images,
            lambda number, batch: form.rows(number, self._answered(batch, top, choice)),
            size=_SMALL_BATCH_SIZE if is_small else _BATCH_SIZE,
            threads=usable_cpus() + is_small,
        )

    def probabilities(
        self, images: NDArray[np.uint8], batch_size: int = 64, view: View = IMAGE
    ) -> NDArray[np.float32]:
        """Returns float32 (N, C) for a view of uint8 (N, stored_size, stored_size, 3), in batches."""
        return self._model.probabilities(view_of(images, view), max(1, batch_size // self._num_views))

    def check_views(self, choice: ViewChoice) -> None:
        """Raises RecipeError where views are asked of a bundle whose graph has some already."""
        inside = self.bundle.facts.views
        if NO_VIEWS not in (choice.name, inside):
            raise RecipeError(
                f"--views {choice.name}: {self.bundle.path} answers from the views {inside} already; "
                "leave out --views"
            )

    def _answers(self, images: NDArray[np.uint8], choice: ViewChoice) -> NDArray[np.floating[Any]]:
        """The mean of logarithms of probabilities is that of logits, less a number for each image."""
        alone = self.probabilities(images)
        if choice.name == NO_VIEWS:
            return alone
        mean, _ = choice.mean_logits(
            logarithms(alone), lambda view, rows: logarithms(self.probabilities(images[rows], view=view))
        )
        return probabilities(mean)

    def _classes(self, rows: NDArray[np.floating[Any]], top: int) -> Iterator[tuple[tuple[str, float], ...]]:
        """Yields the `top` most likely classes of each row of probabilities (N, C), with their own."""
        order = np.argsort(-rows, axis=1, kind="stable")[:, :top]
        highest = np.take_along_axis(rows, order, axis=1)
        names = self.bundle.class_names
        for places, values in zip(order.tolist(), highest.tolist(), strict=True):
            yield tuple(zip(map(names.__getitem__, places), values, strict=True))


@dataclass(frozen=True)
class Verification:
    """What `verify` found; there is one only where everything is right."""

    ok: bool
    bundle: str
    files: tuple[str, ...]
    golden_n: int
    largest_difference: float
    class_names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `verify --json` prints it."""
        return {**vars(self), "files": list(self.files), "class_names": list(self.class_names)}

    def _repr_html_(self) -> str:
        found = {
            "bundle": self.bundle,
            "golden samples replayed": self.golden_n,
            "largest difference": f"{self.largest_difference:.1e}",
            "files with the right hash": ", ".join(self.files),
        }
        return notebook.card("Whole, and answers as it did when it was made", notebook.facts(found))


def verify(bundle: str | Path) -> Verification:
    """Checks hashes, schema, graph, signature and golden samples of a bundle, or of a run's bundle.

    Raises CheckpointError (exit 4).
    """
    opened = open_bundle(_bundle_path(Path(bundle)))
    golden = Predictor(opened).golden
    return Verification(
        ok=True,
        bundle=str(opened.path),
        files=tuple(sorted(opened.files)),
        golden_n=golden.n,
        largest_difference=golden.largest_difference,
        class_names=opened.class_names,
    )


def load(source: str | Path, *, threads: int | None = None) -> Predictor:
    """Returns the predictor of a bundle, or of a run's bundle; raises CheckpointError."""
    return Predictor(open_bundle(_bundle_path(Path(source))), threads=threads)


def predict(
    source: str | Path,
    images: Iterable[ImageInput],
    *,
    top: int = 5,
    views: str = NO_VIEWS,
    views_below: float | None = None,
    shard: str | None = None,
    out: str | Path | None = None,
    progress: Progress = lambda line: None,
) -> Predictions | PredictionFile:
    """Returns a prediction for each image from a bundle, or from a run's bundle; with `out` writes them.

    Images, `views` (none, flip or flip_shift) and `views_below` are those of Predictor. `shard` as '3/16'
    answers every sixteenth image, beginning with the third. `out` is a file ending in .csv, .jsonl or
    .parquet, for which `images` are paths; a call that was stopped goes on when it is made again, and a
    finished file stays as it is. `progress` gets lines for people. Raises CheckpointError for the bundle,
    DataError for an image, for a source or shard of none and for other images than a file was begun with,
    RecipeError for the views, a `top` below 1, a wrong shard and a file that holds something else,
    RunInUseError, ResourceError, MissingPartError.
    """
    share, choice = Shard.parse(shard), ViewChoice(views, views_below)
    if out is None:
        return _collected(load(source).stream(images, top, views, views_below, shard))
    check_name(Path(out))
    # Each CPU has a batch of its own to answer, so one thread for each is quickest.
    return load(source, threads=1).write(Path(out), images, top, choice, share, progress)


def _collected(answers: Iterable[Prediction | Refusal]) -> Predictions:
    """Raises DataError for an image that was itself given and is none."""
    predictions = Predictions()
    for answer in answers:
        if isinstance(answer, Prediction):
            predictions.append(answer)
        elif answer.named:
            raise DataError(answer.error)
        else:
            predictions.refused.append(answer)
    return predictions


def _bundle_path(source: Path) -> Path:
    if is_bundle(source) or not source.is_dir():
        return source
    from pictorch.run_folder import RunFolder  # a third of the start, and not needed for a bundle

    path = RunFolder.open(source).bundle_path
    if not durable.exists(path):
        raise CheckpointError(
            f"{source} has no bundle yet; make it with `pictorch export {shlex.quote(str(source))}`"
        )
    return path


def _shown_answer(prediction: Prediction) -> tuple[str, Markup]:
    """Returns the name of an image and, beside its picture, the bars of its classes."""
    picture, bars = _picture(prediction.source), notebook.bars(prediction.classes)
    return shown(prediction.source), notebook.side_by_side(picture, bars)


def _picture(source: str) -> Markup | None:
    """Returns the picture that lies at `source`, small; None where there is none any more."""
    try:
        data = Path(source).read_bytes()
        side = min(_PICTURE_SIDE, side_in_header(data))
        pixels = decode_image(data, side)
    except (OSError, ValueError, DataError):
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return notebook.picture(buffer.getvalue(), source, side=_PICTURE_SIDE)
