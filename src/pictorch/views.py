"""Views of an image: itself, its mirror and shifts of a pixel, whose logits are averaged when it is judged.

The sets and their weights are those of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
2024 (arXiv 2404.00498), with edge pixels repeated where a shift leaves a gap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.errors import RecipeError, unknown
from pictorch.softmax import probabilities

NO_VIEWS = "none"

Logits = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class View:
    """An image moved down by `dy` and right by `dx`, each -1, 0 or 1 pixel, then mirrored or not.

    `weight` is its share in the mean.
    """

    dy: int = 0
    dx: int = 0
    mirrored: bool = False
    weight: float = 1.0


IMAGE = View()


def _with_mirror(dy: int, dx: int, weight: float) -> tuple[View, View]:
    return View(dy, dx, False, weight), View(dy, dx, True, weight)


# The image itself stands first in each, and the weights of each sum to 1.
VIEWS: dict[str, tuple[View, ...]] = {
    NO_VIEWS: (IMAGE,),
    "flip": _with_mirror(0, 0, 1 / 2),
    "flip_shift": (*_with_mirror(0, 0, 1 / 4), *_with_mirror(-1, -1, 1 / 8), *_with_mirror(1, 1, 1 / 8)),
}


def view_of(
    images: Any,
    view: View,
    concatenate: Callable[..., Any] = np.concatenate,
    flip: Callable[..., Any] = np.flip,
) -> Any:
    """Returns a view of images (N, H, W, 3), of the same kind and shape; those given where it is the image.

    With torch's `cat` and `flip` the same arithmetic is done on tensors.
    """
    for axis, by in ((1, view.dy), (2, view.dx)):
        whole = (slice(None),) * axis
        if by == 1:
            images = concatenate([images[*whole, :1], images[*whole, :-1]], axis)
        elif by == -1:
            images = concatenate([images[*whole, 1:], images[*whole, -1:]], axis)
    return flip(images, (2,)) if view.mirrored else images


@dataclass(frozen=True)
class ViewChoice:
    """A set of views by name, for all images or for those whose top probability lies below `below`.

    Raises RecipeError for an unknown name and for a share that is none.
    """

    name: str = NO_VIEWS
    below: float | None = None

    def __post_init__(self) -> None:
        if self.name not in VIEWS:
            raise RecipeError(f"--views: {unknown('set of views', self.name, VIEWS)}")
        if self.below is not None and (self.name == NO_VIEWS or not 0 < self.below <= 1):
            raise RecipeError(
                f"--views-below {self.below} needs a probability up to 1 and views to ask then; "
                "give for example `--views flip --views-below 0.9`"
            )

    def mean_logits(self, logits: Logits, answer: Callable[[View, Rows], Logits]) -> tuple[Logits, Rows]:
        """Returns the weighted mean of the views' logits (N, C), and the rows that more views were asked for.

        `logits` (N, C) are those of the images themselves, and `answer` gives those of another view of
        some rows. Logarithms of probabilities serve as well: they differ from logits by a number for
        each image and view, and so do their means, which the softmax does not see.
        """
        first, *others = VIEWS[self.name]
        is_asked = True if self.below is None else probabilities(logits).max(1) < self.below
        rows = np.flatnonzero(np.broadcast_to(is_asked, len(logits)))
        mean = logits.copy()
        if others and len(rows):
            mean[rows] *= first.weight
            for view in others:
                mean[rows] += view.weight * answer(view, rows)
        return mean, rows


@dataclass(frozen=True)
class ViewScores:
    """What the answers from several views are worth, beside those from the images alone.

    `name` and `below` are what was asked; `share` of the images were shown in all views, which makes
    `passes_per_image` of the network.
    """

    name: str
    below: float | None
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    top5: float | None
    share: float
    passes_per_image: float

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "ViewScores":
        """Returns the scores behind a record; raises KeyError, TypeError, ValueError."""
        low, high = record["accuracy_interval"]
        return ViewScores(**{**record, "accuracy_interval": (low, high)})

    def in_words(self) -> str:
        """Returns which images were shown in which views, and what that costs."""
        asked = (
            f"the {self.share:.1%} of images below {self.below:g}" if self.below is not None else "all images"
        )
        return f"{self.name} for {asked}, {self.passes_per_image:.2f} passes an image"


def logarithms(fractions: NDArray[np.float32]) -> Logits:
    """Returns logarithms that a softmax makes the same probabilities of; none is infinite."""
    return np.log(np.maximum(fractions, np.finfo(np.float32).tiny))
