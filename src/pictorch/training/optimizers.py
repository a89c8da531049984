"""Optimisers by name, with weight decay where the recipe wants it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pictorch.recipe import OptimizerSection

ParameterGroups = list[dict[str, Any]]


def build_optimizer(section: OptimizerSection, network: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimiser that a recipe names, over all parameters of the network."""
    return OPTIMIZERS[section.name](section, parameter_groups(section, network))


def parameter_groups(section: OptimizerSection, network: nn.Module) -> ParameterGroups:
    """Returns one group, or two where biases and normalisation scales do not decay."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if section.decay_norm_and_bias:
        return [{"params": parameters, "weight_decay": section.weight_decay}]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _sgd(section: OptimizerSection, groups: ParameterGroups) -> torch.optim.Optimizer:
    """Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013."""
    nesterov = section.nesterov and section.momentum > 0
    return torch.optim.SGD(groups, section.lr, momentum=section.momentum, nesterov=nesterov, fused=True)


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
    "adam": _adam,
    "adamw": _adamw,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
}

# Peak learning rates that most networks bear.
USUAL_PEAKS = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3, "adagrad": 1e-2, "rmsprop": 1e-3}
