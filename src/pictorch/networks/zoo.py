"""The names that model.name may have, and the one function that builds what they name."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from pictorch.errors import RecipeError, unknown
from pictorch.images import InputSpec
from pictorch.networks.classifier import Classifier
from pictorch.networks.resnet import resnet18
from pictorch.networks.tutorials import Cifar10Cnn, SimpleNet
from pictorch.recipe import ModelSection

# num_classes, image_size in pixels, dropout (None: the network's own)
Builder = Callable[[int, int, float | None], nn.Module]

NETWORKS: dict[str, Builder] = {
    "simple_net": lambda classes, size, dropout: SimpleNet(classes, size, **_none(dropout)),
    "cifar10_cnn": lambda classes, size, dropout: Cifar10Cnn(
        classes, size, 0.5 if dropout is None else dropout
    ),
    "resnet18": lambda classes, size, dropout: resnet18(classes, size, **_none(dropout)),
}


def build_network(model: ModelSection, num_classes: int, input_spec: InputSpec) -> Classifier:
    """Returns the classifier that a recipe names, with fresh weights from torch's generator.

    A dummy batch goes through it first; raises RecipeError when the name is unknown, or the network
    cannot take the images or gives something else than (N, num_classes) logits.
    """
    if model.name not in NETWORKS:
        raise RecipeError(f"model.name: {unknown('network', model.name, NETWORKS)}")
    try:
        with warnings.catch_warnings():  # images too small for a network are refused below
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            network = NETWORKS[model.name](num_classes, input_spec.image_size, model.dropout)
        classifier = Classifier(network, input_spec, num_classes).eval()
        side = input_spec.stored_size
        with torch.inference_mode():
            logits = classifier(torch.zeros((2, side, side, 3), dtype=torch.uint8))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(
            f"model.name: {model.name} cannot take images of {input_spec.image_size} pixels "
            f"({reason}); set data.image_size"
        ) from error
    if logits.shape != (2, num_classes):
        raise RecipeError(
            f"model.name: {model.name} gives an output of shape {tuple(logits.shape)} for 2 images, "
            f"not (2, {num_classes})"
        )
    return classifier.train()


def _none(dropout: float | None) -> dict[str, float]:
    """Refuses a dropout share for networks that have no dropout."""
    if dropout is not None:
        raise RecipeError(f"model.dropout = {dropout}: this network has no dropout; leave it out")
    return {}
