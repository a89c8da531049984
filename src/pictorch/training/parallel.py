"""The network as a group of processes trains it: a backward pass averages the gradients as they come.

S. Li et al., "PyTorch distributed: experiences on accelerating data parallel training", 2020.
"""

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pictorch.errors import RecipeError
from pictorch.networks import Classifier
from pictorch.networks.zoo import is_own
from pictorch.recipe import Recipe
from pictorch.training.batch_norm import SynchronizedBatchNorm
from pictorch.training.group import Group


class ParallelNetwork:
    """Logits of this process's images, behind which the group's gradients are averaged.

    It is made anew when other parameters learn. All processes then have the first one's weights and
    statistics; the network itself, and so all that is saved of it, stays what it is. Parameters that the
    logits do not depend on stay as they are, as with one process.
    """

    def __init__(self, network: Classifier, recipe: Recipe, group: Group) -> None:
        may_vary = is_own(recipe.model.name)  # from step to step
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.14 has another name for the first one
            self._network = DistributedDataParallel(
                _WithSpare(network) if may_vary else network,
                broadcast_buffers=False,  # those of the first process are judged and kept
                gradient_as_bucket_view=True,
                find_unused_parameters=may_vary or bool(unused_parameters(network)),
            )
        self._group, self._is_synchronized = group, recipe.train.batch_norm == "synchronized"

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the logits (n, num_classes) of images (n, H, W, 3)."""
        with SynchronizedBatchNorm(self._group) if self._is_synchronized else nullcontext():
            logits: Tensor = self._network(images)
            return logits

    def keeps_gradients(self) -> AbstractContextManager[None]:
        """Returns the context of a forward and backward pass whose gradients wait for those of the next."""
        return self._network.no_sync()


class _WithSpare(nn.Module):
    """A network with a parameter that is never used, so that torch does not advise against looking for some.

    It would do so on stderr, in each process.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self.spare = nn.Parameter(next(network.parameters()).new_zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns what the network returns."""
        logits: Tensor = self.network(images)
        return logits


def unused_parameters(network: Classifier) -> list[str]:
    """Returns the learning parameters that get no gradient from the logits of a made batch.

    The network keeps its mode, and its buffers are put back afterwards.
    """
    learning = {name: each for name, each in network.named_parameters() if each.requires_grad}
    side, device = network.input_spec.stored_size, next(iter(learning.values())).device
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    logits = network(torch.zeros((2, side, side, 3), dtype=torch.uint8, device=device))
    gradients = torch.autograd.grad(logits.sum(), list(learning.values()), allow_unused=True)
    for buffer, value in kept:
        buffer.copy_(value)
    return [name for name, gradient in zip(learning, gradients, strict=True) if gradient is None]


def check_penalty(group: Group, recipe: Recipe, network: Classifier) -> None:
    """Raises RecipeError where loss.l1 gives a gradient that DistributedDataParallel does not wait for."""
    if not group.is_joined or not recipe.loss.l1 or recipe.train.accumulate > 1:
        return
    weights = [name for name in unused_parameters(network) if network.get_parameter(name).ndim > 1]
    if weights:
        raise RecipeError(
            f"loss.l1: {weights[0]} gets a gradient from it and none from the loss, and so is not averaged "
            "over several processes; give `--set loss.l1=0`, or leave out torchrun"
        )
