"""The last layer of a network: whether it is the one that fields of the recipe mean."""

from pictorch.errors import RecipeError
from pictorch.networks import Classifier
from pictorch.networks.ends import stem_and_head
from pictorch.recipe import Recipe
from pictorch.training.freezing import BACKBONE


def check_head(recipe: Recipe, network: Classifier) -> None:
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
