"""Layers that do not learn, for the whole training or some of its epochs: a function of the epoch alone."""

from fnmatch import fnmatchcase

from torch import nn

from pictorch.errors import RecipeError, unknown
from pictorch.networks.ends import stem_and_head
from pictorch.networks.options import BATCH_NORMS
from pictorch.recipe import TrainSection

BACKBONE = "backbone"


class Freezing:
    """The parameters that train.freeze names, and the batch norms that have no others."""

    def __init__(self, section: TrainSection, network: nn.Module) -> None:
        """Raises RecipeError for a pattern that matches no parameter, and where nothing is left to learn."""
        self._freeze_epoch, self._unfreeze_epoch = section.freeze_epoch or 0, section.unfreeze_epoch
        parameters = dict(network.named_parameters())
        names = {name for pattern in section.freeze for name in _matching(pattern, network)}
        # What the network itself keeps fixed never learns.
        learning = {name for name, parameter in parameters.items() if parameter.requires_grad}
        if not learning:
            raise RecipeError(
                "model.name: no parameter of the network learns, since none requires a gradient; call "
                "requires_grad_(True) on what is to learn"
            )
        if not learning - names:
            raise RecipeError(
                "train.freeze: nothing is left to learn; leave out a pattern, or freeze all but the last "
                "layer with `--set 'train.freeze=[backbone]'`"
            )
        self.has_changed = False  # by the last `apply`
        self._parameters = [parameters[name] for name in sorted(names & learning)]
        frozen = {id(parameters[name]) for name in names}
        self._batch_norms = [
            layer
            for layer in network.modules()
            if isinstance(layer, BATCH_NORMS)
            and layer.weight is not None
            and all(id(parameter) in frozen for parameter in layer.parameters())
        ]

    def apply(self, epoch: int) -> None:
        """Lets the layers learn or not, as it is in an epoch, counted from 0, of a network in training mode.

        A frozen parameter has no gradient, so that no optimiser moves it; a frozen batch norm uses its
        statistics and keeps them.
        """
        is_over = self._unfreeze_epoch is not None and epoch >= self._unfreeze_epoch
        learns = is_over or epoch < self._freeze_epoch
        self.has_changed = any(parameter.requires_grad != learns for parameter in self._parameters)
        for parameter in self._parameters:
            parameter.requires_grad_(learns)
        for layer in self._batch_norms:
            layer.train(learns)


def _matching(pattern: str, network: nn.Module) -> list[str]:
    names = [name for name, _ in network.named_parameters()]
    if pattern == BACKBONE:
        _, head = stem_and_head(network)
        found = [name for name in names if not name.startswith(f"{head}.")]
    else:
        found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise RecipeError(f"train.freeze: {unknown('parameter', pattern, names)}")
    return found
