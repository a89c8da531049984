"""Optimisers by name, with the rates and the weight decay that the recipe wants for each parameter."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import nn

from pictorch.errors import RecipeError
from pictorch.networks.ends import stem_and_head
from pictorch.recipe import OptimizerSection
from pictorch.training.muon import Muon
from pictorch.training.sgd import FusedSGD

ParameterGroups = list[dict[str, Any]]


def build_optimizer(section: OptimizerSection, network: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimiser that a recipe names, over all parameters of the network that may learn.

    The lr of each of its groups is the peak that the schedule multiplies. Raises RecipeError where the
    network has nothing that the optimiser is for.
    """
    return OPTIMIZERS[section.name](section, parameter_groups(section, network))


def parameter_groups(section: OptimizerSection, network: nn.Module) -> ParameterGroups:
    """Returns a group for all parameters of one peak rate, one weight decay and one way to move."""
    stem, head = stem_and_head(network)
    filters = {id(p) for p in _filters(network, (stem, head))} if section.name == "muon" else set()
    members: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            in_head = name.startswith(f"{head}.") or section.backbone_lr_factor == 1
            decays = parameter.ndim > 1 or section.decay_norm_and_bias
            members.setdefault((id(parameter) in filters, in_head, decays), []).append(parameter)
    groups = []
    for is_filter, in_head, decays in product((True, False), repeat=3):
        if (is_filter, in_head, decays) in members:
            lr, decay = section.lr, section.weight_decay if decays else 0.0
            if is_filter:
                lr, decay = section.muon_lr, section.muon_weight_decay
            group: dict[str, Any] = {"params": members[is_filter, in_head, decays], "weight_decay": decay}
            group["lr"] = lr if in_head else lr * section.backbone_lr_factor
            groups.append(group | {"filters": True} if is_filter else group)
    return groups


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
