"""Images inside the page: the telling ones, mistakes, hits, samples, matrices too large for a table."""

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch import formats
from pictorch.markup import Markup, element, group, missing, scroll_box
from pictorch.reporting.records import Records
from pictorch.softmax import probabilities

LARGEST_LOSSLESS = 64
LARGEST_SIDE = 160

Answer = tuple[str, list[tuple[str, float]], NDArray[Any]]


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


def render_telling(records: Records) -> Markup | None:
    """Returns the surest mistake, a usual hit and the least certain hit, as far as they are kept."""
    cards = []
    titles = {"mistake": "The surest mistake", "typical": "A usual hit", "hit": "The least certain hit"}
    for kind, title in titles.items():
        for true, ranked, pixels in _answers(records, kind)[:1]:
            (first, sure), (second, less) = ranked
            confidence = f"{_share(sure)} confidence"
            story = {
                "mistake": f"Labelled {_quoted(true)}, answered {_quoted(first)} with {confidence}."
                + (" Is the label right?" if sure > 0.9 else ""),
                "typical": f"{_quoted(true)}, found with {confidence}; half of all hits are surer.",
                "hit": f"{_quoted(true)}, with only {confidence}; then {_quoted(second)}, {_share(less)}.",
            }[kind]
            story = story.replace(" %", "\N{NO-BREAK SPACE}%")
            text = element("figcaption", element("strong", title), element("span", story))
            cards.append(element("figure", _image(pixels, f"{true}, called {first}"), text))
    return element("div", *cards, class_="telling") if cards else None


def render_mistakes(records: Records) -> Markup:
    """Returns the pictures of the most confident wrong answers."""
    evaluation = records.shown
    if evaluation is None:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    if "mistake_images" not in records.arrays:
        command = records.command("evaluate", "--split", evaluation.split)
        return missing("The evaluation has kept no pictures of its mistakes.", command)
    figures = [
        _figure(
            [(pixels, f"{true}, called {ranked[0][0]}")],
            element("span", "true ", element("b", element("bdi", true))),
            element("span", "answer ", element("b", element("bdi", ranked[0][0]), class_="bad")),
            element("span", f"{_share(ranked[0][1])} sure"),
        )
        for true, ranked, pixels in _answers(records, "mistake")
    ]
    if not figures:
        return element("p", "There is none: every answer is right.")
    wrong = evaluation.n - sum(row[i] for i, row in enumerate(evaluation.confusion))
    return group(
        element("p", f"The {len(figures)} most confident of {wrong:,} mistakes in {evaluation.n:,} images."),
        element("div", *figures, class_="pictures"),
    )


def render_hits(records: Records) -> Markup:
    """Returns the pictures of the right answers that were nearest to being wrong."""
    evaluation = records.shown
    if evaluation is None:
        return missing("Nothing has been evaluated yet.", records.evaluate_command)
    if "hit_images" not in records.arrays:
        return missing(
            f"This evaluation has kept no pictures of its hits; the next one on {evaluation.split} will."
        )
    figures = [
        _figure(
            [(pixels, f"{true}, called {true}")],
            element("span", element("b", element("bdi", true)), f" {_share(ranked[0][1])}"),
            element("span", "next ", element("bdi", ranked[1][0]), f" {_share(ranked[1][1])}"),
        )
        for true, ranked, pixels in _answers(records, "hit")
    ]
    if not figures:
        return element("p", "There is none: every answer is wrong.")
    right = sum(row[i] for i, row in enumerate(evaluation.confusion))
    return group(
        element("p", f"The {len(figures)} least certain of {right:,} right answers, and what came next."),
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
    names = [records.class_name(int(label)) for label in samples["labels"]]
    figures = [
        _figure(
            [(stored, f"{name}, as stored"), (changed, f"{name}, augmented")],
            element("span", element("bdi", name)),
        )
        for stored, changed, name in zip(samples["images"], samples["augmented"], names, strict=True)
    ]
    section = records.recipe.augment
    later = ", before it is mixed with another image" if section.mixup or section.cutmix else ""
    return group(
        element(
            "p", f"Left as stored, right as training sees it once, with the recipe's augmentation{later}."
        ),
        element("div", *figures, class_="pictures pairs"),
    )


def matrix_picture(confusion: Sequence[Sequence[int]]) -> Markup:
    """Returns a confusion matrix as a picture, one pixel or more for each pair of classes."""
    counts = np.array(confusion, dtype=np.float64)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    right = np.eye(len(counts), dtype=bool)
    wrong = np.where(right, 0, shares)
    depth = np.where(right, shares, np.sqrt(wrong / (wrong.max() or 1)))[..., None]
    colour = np.where(right[..., None], (32, 80, 200), (196, 78, 20))
    pixels = np.rint(255 + (colour - 255) * depth).astype(np.uint8)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    source = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
    alt = f"Confusion matrix of {len(counts)} classes; the most frequent confusions are listed below"
    return scroll_box("Confusion matrix", element("img", src=source, alt=alt, class_="matrix"))


def _answers(records: Records, kind: str) -> list[Answer]:
    """Returns true name, the two likeliest names with their confidence, and picture of each kept row."""
    arrays = records.arrays
    if f"{kind}_images" not in arrays:
        return []
    rows = arrays[f"{kind}s"]
    found = []
    for answer, label, pixels in zip(
        probabilities(arrays["logits"][rows]), arrays["labels"][rows], arrays[f"{kind}_images"], strict=True
    ):
        ranked = [
            (records.class_name(int(i)), float(answer[i])) for i in np.argsort(-answer, kind="stable")[:2]
        ]
        found.append((records.class_name(int(label)), ranked, pixels))
    return found


def _share(fraction: float) -> str:
    """A confidence just below one is not printed as one."""
    return "over 99.9 %" if 0.9995 <= fraction < 1 else formats.percent(fraction, 1)


def _quoted(name: str) -> str:
    """A name inside a sentence, kept apart from it where it runs from right to left."""
    return f"\N{FIRST STRONG ISOLATE}“{name}”\N{POP DIRECTIONAL ISOLATE}"


def _figure(images: Sequence[tuple[NDArray[Any], str]], *caption: Markup) -> Markup:
    return element(
        "figure",
        element("div", *(_image(pixels, alt) for pixels, alt in images)),
        element("figcaption", *caption),
    )


def _image(pixels: NDArray[Any], alt: str) -> Markup:
    style = "small" if max(pixels.shape[:2]) <= LARGEST_LOSSLESS else None
    return element("img", src=data_uri(pixels), alt=alt, width=96, height=96, class_=style)
