"""The arithmetic of a training: 3 x 2 x multiply-adds for each image, at the size that its step saw.

The forward pass counts once, the backward pass twice, a multiply-add as two operations, as the field does
(Kaplan et al., "Scaling laws for neural language models", 2020, section 2.1). Only convolutions and linear
layers count; gradients that nobody needs, as those of frozen layers, count all the same.
"""

from collections import Counter
from collections.abc import Mapping

from pictorch.datasets import Splits
from pictorch.networks import build_network
from pictorch.networks.summary import summarize
from pictorch.recipe import Recipe
from pictorch.training.schedules import Segment
from pictorch.training.sizes import side_at


def multiply_adds_of_sides(recipe: Recipe, splits: Splits) -> dict[int, int]:
    """Returns the multiply-adds of one image by the side in pixels, for every side that training sees.

    Raises RecipeError where the network cannot be built.
    """
    network = build_network(recipe.model, len(splits.class_names), splits.input)
    found = {}
    for side in (network.input_spec.image_size, *(side for side, _ in recipe.augment.sizes)):
        network.normalization.image_size = side
        found[side] = int(summarize(network, "")["multiply_adds"])
    return found


def training_flops(recipe: Recipe, training_images: int, steps: int, multiply_adds: Mapping[int, int]) -> int:
    """Returns the operations of the first `steps` steps of a recipe on so many training images."""
    batch_size = min(recipe.train.batch_size, training_images)
    planned = Segment(0, recipe.train.epochs, 1.0).steps(training_images // batch_size)
    whole_side = max(multiply_adds)
    steps_at = Counter(side_at(recipe.augment, step / planned, whole_side) for step in range(steps))
    return sum(6 * multiply_adds[side] * batch_size * count for side, count in steps_at.items())
