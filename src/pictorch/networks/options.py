"""What a recipe may change in any network: dropout, activation and the first weights."""

from collections.abc import Callable, Iterator

from torch import nn

from pictorch.errors import RecipeError
from pictorch.recipe import ModelSection

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

# What networks have of their own between two layers; a sigmoid there is a gate and stays.
_OWN_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)


def apply_options(network: nn.Module, model: ModelSection) -> None:
    """Changes the network as the section asks; raises RecipeError where it has nothing to change."""
    if model.dropout is not None:
        dropouts = [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]
        if not dropouts:
            raise RecipeError(f"model.dropout: {model.name} has no dropout; leave out {model.dropout}")
        for layer in dropouts:
            layer.p = model.dropout
    if model.activation is not None:
        places = list(_activations(network))
        if not places:
            raise RecipeError(
                f"model.activation: {model.name} has no activation layer; leave out {model.activation}"
            )
        for parent, name in places:
            setattr(parent, name, ACTIVATIONS[model.activation]())
    if model.init != "default":
        _draw_weights(network, model.init)


def _activations(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for parent in network.modules():
        for name, child in parent._modules.items():
            if isinstance(child, _OWN_ACTIVATIONS):
                yield parent, name


def _draw_weights(network: nn.Module, init: str) -> None:
    """Draws convolutions and linear layers anew and sets their biases to 0; dirac leaves linear ones."""
    for layer in network.modules():
        if init == "dirac":
            if isinstance(layer, nn.Conv2d) and layer.groups == 1:
                _begin_as_identity(layer)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            if init == "kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _begin_as_identity(layer: nn.Conv2d) -> None:
    """Lets the first filters pass their channels on; the others keep their draw.

    The partial identity of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """
    nn.init.dirac_(layer.weight.data[: layer.in_channels])
