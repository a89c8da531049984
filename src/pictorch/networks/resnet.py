"""Residual networks: torchvision's modules with its parameter names, and a stem for small images."""

from torch import nn

SMALL_IMAGE_SIDE = 64


def resnet18(num_classes: int, image_size: int) -> nn.Module:
    """Returns ResNet-18 (He et al., "Deep residual learning for image recognition", 2015).

    Below 64 pixels the stem is one 3x3 convolution of stride 1 without max-pooling: 11,173,962
    parameters for 10 classes.
    """
    import torchvision.models

    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=num_classes)
    if image_size < SMALL_IMAGE_SIDE:
        stem = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        network.conv1 = stem
        network.maxpool = nn.Identity()
    return network
