"""Optimisers by name, with the rates and the weight decay that the recipe wants for each parameter."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from pictorch.errors import RecipeError
from pictorch.networks.ends import stem_and_head
from pictorch.networks.options import BATCH_NORMS
from pictorch.networks.whitening import PatchWhitening
from pictorch.recipe import OptimizerSection, Recipe
from pictorch.training.muon import Muon
from pictorch.training.sgd import FusedSGD

ParameterGroups = list[dict[str, Any]]


def build_optimizer(section: OptimizerSection, network: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimiser that a recipe names, over all parameters of the network that may learn.

    The lr of each of its groups is the peak that the schedule multiplies. Raises RecipeError where the
    network has nothing that the optimiser is for.
    """
    return OPTIMIZERS[section.name](section, parameter_groups(section, network))


class _Kind(NamedTuple):
    """What parameters of one group have in common."""

    is_filter: bool
    in_head: bool
    decays: bool
    is_norm_bias: bool


def parameter_groups(section: OptimizerSection, network: nn.Module) -> ParameterGroups:
    """Returns a group for all parameters of one peak rate, one weight decay and one way to move."""
    stem, head = stem_and_head(network)
    filters = {id(p) for p in _filters(network, (stem, head))} if section.name == "muon" else set()
    norm_biases = set() if section.norm_bias_lr_factor == 1 else _norm_biases(network)
    members: dict[_Kind, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            kind = _Kind(
                is_filter=id(parameter) in filters,
                in_head=name.startswith(f"{head}.") or section.backbone_lr_factor == 1,
                decays=parameter.ndim > 1 or section.decay_norm_and_bias,
                is_norm_bias=id(parameter) in norm_biases,
            )
            members.setdefault(kind, []).append(parameter)
    return [_group(section, kind, members[kind]) for kind in sorted(members, key=_place)]


def _group(section: OptimizerSection, kind: _Kind, parameters: list[nn.Parameter]) -> dict[str, Any]:
    lr, decay = section.lr, section.weight_decay if kind.decays else 0.0
    if kind.is_filter:
        lr, decay = section.muon_lr, section.muon_weight_decay
    if kind.is_norm_bias:
        lr, decay = lr * section.norm_bias_lr_factor, decay / section.norm_bias_lr_factor
    group: dict[str, Any] = {"params": parameters, "weight_decay": decay}
    group["lr"] = lr if kind.in_head else lr * section.backbone_lr_factor
    if not kind.is_filter:
        return group
    momentum = section.momentum if section.muon_momentum is None else section.muon_momentum
    return group | {
        "filters": True,
        "filters_momentum": momentum,
        "iterations": section.muon_iterations,
        "fixed_norm": section.muon_fixed_norm,
    }


def _place(kind: _Kind) -> tuple[bool, ...]:
    """Returns what groups are sorted by; filters, the head and what decays come first."""
    return (not kind.is_filter, not kind.in_head, not kind.decays, kind.is_norm_bias)


def _norm_biases(network: nn.Module) -> set[int]:
    """Returns the identities of the biases of batch norms and of a whitening layer."""
    layers = [m for m in network.modules() if isinstance(m, (*BATCH_NORMS, PatchWhitening))]
    return {id(layer.bias) for layer in layers if layer.bias is not None}


def for_batch_size(section: OptimizerSection, batch_size: int) -> OptimizerSection:
    """Returns the section with its numbers brought from reference_batch_size to another batch size.

    With r the ratio of the two, an image moves the weights as much as before where the rate of SGD is
    multiplied by r (Goyal et al., "Accurate, large minibatch SGD", 2017), and that of optimisers whose
    steps do not depend on the gradient's size, Muon too, by sqrt(r) (Malladi et al., "On the SDEs and
    scaling rules for adaptive gradient algorithms", 2022). A momentum, as any share that is kept, becomes
    its power r, so that it lasts for as many images; decoupled decay is scaled to be as much an image.
    """
    if section.reference_batch_size is None or section.reference_batch_size == batch_size:
        return section
    ratio = batch_size / section.reference_batch_size
    rate_factor = ratio if section.name in ("sgd", "muon") else ratio**0.5
    scaled = {
        "lr": section.lr * rate_factor,
        "muon_lr": section.muon_lr * ratio**0.5,
        "muon_weight_decay": section.muon_weight_decay * ratio**0.5,
        "momentum": section.momentum**ratio,
        "muon_momentum": None if section.muon_momentum is None else section.muon_momentum**ratio,
        "betas": tuple(beta**ratio for beta in section.betas),
        "square_decay": section.square_decay**ratio,
    }
    if section.name == "adamw":
        scaled["weight_decay"] = section.weight_decay * ratio**0.5
    return section.model_copy(update=scaled)


def section_for(recipe: Recipe, batch_size: int) -> OptimizerSection:
    """Returns the section with its numbers brought to the batch size of all processes together.

    With train.scale_lr linear its rates are for 256 images a step (Goyal et al., "Accurate, large minibatch
    SGD: training ImageNet in 1 hour", 2017, section 2.1).
    """
    section = for_batch_size(recipe.optimizer, batch_size)
    if recipe.train.scale_lr == "none":
        return section
    ratio = batch_size / 256
    return section.model_copy(update={"lr": section.lr * ratio, "muon_lr": section.muon_lr * ratio})


def _filters(network: nn.Module, spared: tuple[str, str]) -> list[torch.Tensor]:
    """Returns the weights of convolutions that mix all their channels, but those of the named layers."""
    return [
        layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and name not in spared
    ]


def _sgd(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013."""
    return FusedSGD(groups, section.lr, section.momentum, section.nesterov)


def _muon(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024."""
    if not any("filters" in group for group in groups):
        raise RecipeError(
            "optimizer.name: muon moves the filters of convolutions after the first one, and the network has "
            "none; give `--set optimizer.name=sgd`"
        )
    return Muon(groups, section.lr, section.momentum, section.nesterov)


def _adamw(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Loshchilov & Hutter, "Decoupled weight decay regularization", 2019."""
    return torch.optim.AdamW(groups, section.lr, betas=section.betas, fused=True)


def _adam(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Kingma & Ba, "Adam: a method for stochastic optimization", 2015."""
    return torch.optim.Adam(groups, section.lr, betas=section.betas, fused=True)


def _adagrad(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Duchi et al., "Adaptive subgradient methods for online learning", 2011."""
    return torch.optim.Adagrad(groups, section.lr)


def _rmsprop(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Tieleman & Hinton, "Lecture 6.5: RMSProp", 2012; without momentum."""
    return torch.optim.RMSprop(groups, section.lr, alpha=section.square_decay)


OPTIMIZERS: dict[str, Callable[[OptimizerSection, ParameterGroups], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "muon": _muon,
    "adam": _adam,
    "adamw": _adamw,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
}

# Peak learning rates that most networks bear.
USUAL_PEAKS = {"sgd": 0.1, "muon": 0.1, "adam": 1e-3, "adamw": 1e-3, "adagrad": 1e-2, "rmsprop": 1e-3}
