"""Networks that users bring: whether they can learn."""

import torch
from torch import Tensor

from pictorch.errors import RecipeError
from pictorch.networks import Classifier
from pictorch.networks.zoo import is_own
from pictorch.plugins import in_short
from pictorch.recipe import Recipe


def try_own_network(recipe: Recipe, network: Classifier) -> None:
    """Raises RecipeError where a network of the user's own cannot learn what the recipe asks of it.

    A made batch goes through it in training mode; its buffers are put back afterwards.
    """
    if not is_own(recipe.model.name):
        return
    side = network.input_spec.stored_size
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        fault = _fault(network.train()(torch.zeros((2, side, side, 3), dtype=torch.uint8)), network)
    except (Exception, SystemExit) as error:
        fault = f"fails ({in_short(error)})"
    if fault:
        raise RecipeError(f"model.name: {recipe.model.name} in training mode {fault}; mend it there")
    for buffer, value in kept:
        buffer.copy_(value)


def _fault(logits: object, network: Classifier) -> str:
    """Returns what is wrong with what a network gave, '' where nothing is."""
    if not isinstance(logits, Tensor):
        return f"gives a {type(logits).__name__}, not logits"
    if logits.shape != (2, network.num_classes):
        return f"gives an output of shape {tuple(logits.shape)}, not (2, {network.num_classes})"
    return "" if logits.requires_grad else "gives logits without a gradient, from which nothing learns"
