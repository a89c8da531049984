"""The network as a group of processes trains it: a backward pass averages the gradients as they come.

S. Li et al., "PyTorch distributed: experiences on accelerating data parallel training", 2020.
"""

import warnings
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pictorch.networks import Classifier
from pictorch.networks.zoo import is_own
from pictorch.recipe import Recipe
from pictorch.training.batch_norm import SynchronizedBatchNorm
from pictorch.training.group import Group


class ParallelNetwork:
    """Logits of this process's images, behind which the group's gradients are averaged.

    It is made anew when other parameters learn. All processes then have the first one's weights and
    statistics; the network itself, and so all that is saved of it, stays what it is.
    """

    def __init__(self, network: Classifier, recipe: Recipe, group: Group) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.14 has another name for the first one
            self._network = DistributedDataParallel(
                network,
                broadcast_buffers=False,  # those of the first process are judged and kept
                gradient_as_bucket_view=True,
                find_unused_parameters=is_own(recipe.model.name),
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
