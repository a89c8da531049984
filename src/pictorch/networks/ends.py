"""The two layers of a network that depend on its images and classes: the stem and the head."""

from torch import nn


def stem_and_head(network: nn.Module) -> tuple[str, str]:
    """Returns the names of the first convolution and of the last layer with a weight matrix, '' for none.

    The order is that in which the layers were registered. At both ends it is that of the computation in all
    networks of pictorch and torchvision and in nearly all of timm.
    """
    layers = [
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    stem = next((name for name, layer in layers if isinstance(layer, nn.Conv2d)), "")
    return stem, layers[-1][0] if layers else ""
