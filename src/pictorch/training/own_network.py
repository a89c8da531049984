"""Networks that users bring: whether they can learn, and have their head where the recipe needs it."""

import torch
from torch import Tensor

from pictorch.errors import RecipeError
from pictorch.networks import Classifier
from pictorch.networks.ends import stem_and_head
from pictorch.networks.zoo import is_own
from pictorch.plugins import in_short
from pictorch.recipe import Recipe
from pictorch.training.freezing import BACKBONE


def try_own_network(recipe: Recipe, network: Classifier) -> None:
    """Raises RecipeError where a network of the user's own cannot learn what the recipe asks of it.

    A made batch goes through it in training mode; its buffers are put back afterwards.
    """
    if not is_own(recipe.model.name):
        return
    _check_head(recipe, network)
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


def _check_head(recipe: Recipe, network: Classifier) -> None:
    """Raises RecipeError where a field acts on the last layer and what was registered last is another."""
    uses = {
        f"train.freeze=[{BACKBONE}]": BACKBONE in recipe.train.freeze,
        "optimizer.backbone_lr_factor": recipe.optimizer.backbone_lr_factor != 1,
        "model.weights": recipe.model.weights is not None,
    }
    field = next((field for field, is_set in uses.items() if is_set), None)
    _, head = stem_and_head(network.network)
    numbers = network.network.get_parameter(f"{head}.weight").shape[0] if head else 0
    if field is None or numbers == network.num_classes:
        return
    found = f"{head}, registered last, gives {numbers} numbers" if head else "no layer has a weight matrix"
    remedy = "freeze by patterns" if "freeze" in field else f"leave out {field}"
    raise RecipeError(
        f"{field}: the last layer of {recipe.model.name} was not found ({found}, not {network.num_classes}); "
        f"register it last, or {remedy}"
    )
