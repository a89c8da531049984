"""Images inside the page: mistakes, samples, and matrices too large for a table."""

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, scroll_box
from pictorch.metrics.softmax import probabilities
from pictorch.reporting.records import Records

LARGEST_LOSSLESS = 64
LARGEST_SIDE = 160


def data_uri(pixels: NDArray[Any]) -> str:
    """Returns a uint8 image (H, W, 3) or (H, W) as a data URI.

    Small pictures are kept exactly, as PNG; larger ones are shrunk to 160 pixels, as JPEG, so that
    a page of them stays small.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    if max(image.size) <= LARGEST_LOSSLESS:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        image.save(buffer, "JPEG", quality=85)
        kind = "jpeg"
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"


def render_mistakes(records: Records) -> Markup:
    """Returns the pictures of the most confident wrong answers."""
    evaluation, arrays = records.shown, records.arrays
    if evaluation is None:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    command = records.command("evaluate", "--split", evaluation.split)
    if "mistake_images" not in arrays:
        return missing("The evaluation has kept no pictures of its mistakes.", command)
    if len(arrays["mistakes"]) == 0:
        return element("p", "There is none: every answer is right.")
    rows = arrays["mistakes"]
    answers = probabilities(arrays["logits"][rows])
    figures = []
    for answer, label, pixels in zip(answers, arrays["labels"][rows], arrays["mistake_images"], strict=True):
        true, called = records.class_name(int(label)), records.class_name(int(answer.argmax()))
        caption = group(
            element("span", "true ", element("b", true)),
            element("span", "answer ", element("b", called)),
            element("span", f"confidence {formats.percent(answer.max(), 1)}"),
        )
        figures.append(_figure([(pixels, f"{true}, called {called}")], caption))
    wrong = sum(map(sum, evaluation.confusion)) - sum(row[i] for i, row in enumerate(evaluation.confusion))
    return group(
        element("p", f"The {len(rows)} most confident of {wrong:,} mistakes in {evaluation.n:,} images."),
        element("div", *figures, class_="pictures"),
    )


def render_samples(records: Records) -> Markup:
    """Returns training images as they are stored, each with the same image as a batch has it."""
    samples = records.samples
    if "images" not in samples:
        return missing(
            "This run keeps no sample pictures; training writes them when it starts.",
            records.training_command,
        )
    figures = [
        _figure([(stored, f"{name}, as stored"), (changed, f"{name}, augmented")], element("span", name))
        for stored, changed, name in zip(
            samples["images"],
            samples["augmented"],
            (records.class_name(int(label)) for label in samples["labels"]),
            strict=True,
        )
    ]
    return group(
        element("p", "Left as stored, right as training sees it once, with the recipe's augmentation."),
        element("div", *figures, class_="pictures pairs"),
    )


def matrix_picture(confusion: Sequence[Sequence[int]]) -> Markup:
    """Returns a confusion matrix as a picture, one pixel or more for each pair of classes."""
    counts = np.array(confusion, dtype=np.float64)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    right = np.eye(len(counts), dtype=bool)
    wrong = np.where(right, 0, shares)
    depth = np.where(right, shares, np.sqrt(wrong / (wrong.max() or 1)))[..., None]
    colour = np.where(right[..., None], (37, 99, 235), (220, 38, 38))
    pixels = np.rint(255 + (colour - 255) * depth).astype(np.uint8)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    source = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
    alt = f"Confusion matrix of {len(counts)} classes; the most frequent confusions are listed below"
    return scroll_box("Confusion matrix", element("img", src=source, alt=alt, class_="matrix"))


def _figure(images: Sequence[tuple[NDArray[Any], str]], caption: Markup) -> Markup:
    return element(
        "figure",
        element("div", *(_image(pixels, alt) for pixels, alt in images)),
        element("figcaption", caption),
    )


def _image(pixels: NDArray[Any], alt: str) -> Markup:
    style = "small" if max(pixels.shape[:2]) <= LARGEST_LOSSLESS else None
    return element("img", src=data_uri(pixels), alt=alt, width=96, height=96, class_=style)
