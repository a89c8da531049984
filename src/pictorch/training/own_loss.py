"""Losses that users bring: found by name or taken as given, and tried before a run begins."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.errors import RecipeError
from pictorch.plugins import in_short, load_function
from pictorch.recipe import Recipe
from pictorch.training.runtime import Runtime

# Takes logits (N, C) and labels (N,), with MixUp or CutMix shares (N, C), and returns their mean.
OwnLoss = Callable[[Tensor, Tensor], Tensor]

_IMAGES = 4


def own_loss(name: str, given: OwnLoss | None) -> OwnLoss:
    """Returns the loss that was given in Python, else the one that the recipe names.

    Raises RecipeError where there is none, or one was given for a name that is pictorch's.
    """
    if given is not None and ":" not in name:
        raise RecipeError(f"loss: the loss is {name}, which pictorch knows; leave out loss=")
    return load_function("loss.name", name) if given is None else given


def try_own_loss(recipe: Recipe, given: OwnLoss | None, num_classes: int, runtime: Runtime) -> None:
    """Raises RecipeError where a made batch does not come out of the user's loss as a mean to make small."""
    name = recipe.loss.name
    if ":" not in name:
        return
    loss = own_loss(name, given)
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise RecipeError(
            f"loss.name: {name} has parameters that want a gradient, and nothing would move them; let the "
            "network have them, or call requires_grad_(False) on the loss"
        )
    drawn = torch.linspace(-1, 1, _IMAGES * num_classes, dtype=runtime.dtype, device=runtime.device)
    logits = drawn.reshape(_IMAGES, num_classes).requires_grad_()
    targets = torch.arange(_IMAGES, device=runtime.device) % num_classes
    if recipe.augment.mixup or recipe.augment.cutmix:
        targets = F.one_hot(targets, num_classes).to(runtime.dtype)
    try:
        fault = _fault(loss(logits, targets), logits)
    except (Exception, SystemExit) as error:
        shapes = f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)}"
        raise RecipeError(
            f"loss.name: {name} fails for {shapes} ({in_short(error)}); mend it there"
        ) from error
    if fault:
        raise RecipeError(
            f"loss.name: {name} gives {fault}; let it return the mean over the batch, a float with a gradient"
        )


def _fault(mean: object, logits: Tensor) -> str:
    """Returns what is wrong with what a loss gave, '' where nothing is."""
    if not isinstance(mean, Tensor):
        return f"a {type(mean).__name__}"
    if mean.shape != () or not mean.is_floating_point():
        return f"{str(mean.dtype).removeprefix('torch.')} of shape {tuple(mean.shape)}"
    if not mean.isfinite():
        return f"{mean.item()}"
    if not mean.requires_grad or torch.autograd.grad(mean, logits, allow_unused=True)[0] is None:
        return "a number that does not depend on the logits"
    return ""
