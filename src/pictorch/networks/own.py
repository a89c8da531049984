"""Networks that users bring: a function that the recipe names, or a module or function given in Python."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from pictorch.errors import RecipeError
from pictorch.plugins import in_short, load_function, working_folder_on_path

# A function takes the number of classes and the side of the images in pixels.
OwnNetwork = nn.Module | Callable[[int, int], nn.Module]


def own_network(name: str, given: OwnNetwork | None, num_classes: int, image_size: int) -> nn.Module:
    """Returns a copy of the module that was given, else what the function gives that was given or named.

    Raises RecipeError where that is no module, or the user's own code raises.
    """
    if given is not None and not callable(given):
        raise RecipeError(
            f"model: a {type(given).__name__} is neither a torch.nn.Module nor a function that returns one; "
            "the name of a network goes into set=['model.name=NAME']"
        )
    make = load_function("model.name", name) if given is None else given
    try:
        if isinstance(given, nn.Module):
            network: object = deepcopy(given).to("cpu", torch.float32)
        else:
            with working_folder_on_path():
                network = make(num_classes, image_size)
    except (Exception, SystemExit) as error:
        asked = "copied" if isinstance(given, nn.Module) else f"called with {num_classes}, {image_size}"
        raise RecipeError(
            f"model.name: {name} cannot be {asked} ({in_short(error)}); mend it there"
        ) from error
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        what = "has no parameters" if isinstance(network, nn.Module) else f"is a {type(network).__name__}"
        raise RecipeError(
            f"model.name: what {name} gives {what}; let it give a torch.nn.Module that can learn"
        )
    return network
