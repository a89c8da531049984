"""torchvision's networks with its parameter names, and a stem for small images where one is asked for.

Each function takes the number of classes and whether the images are small. Without the small stem the
network is torchvision's own, so that its ImageNet weights fit. With it the first layers keep the
resolution that they would otherwise throw away: of 32x32 pixels 4x4 are left at the end, not one.
"""

from collections import OrderedDict

from torch import nn


def resnet18(num_classes: int, small_images: bool) -> nn.Module:
    """Returns ResNet-18 (He et al., "Deep residual learning for image recognition", 2015).

    With the small stem, one 3x3 convolution of stride 1 without max-pooling, it has 11,173,962
    parameters for 10 classes.
    """
    return _resnet(_torchvisions("resnet18", num_classes), small_images)


def resnet34(num_classes: int, small_images: bool) -> nn.Module:
    """Returns ResNet-34 (He et al., 2015); 21,282,122 parameters with the small stem and 10 classes."""
    return _resnet(_torchvisions("resnet34", num_classes), small_images)


def mobilenet_v2(num_classes: int, small_images: bool) -> nn.Module:
    """Returns MobileNetV2 (Sandler et al., 2018): 2,236,682 parameters for 10 classes.

    The small stem has stride 1 in the first convolution and in the first of the blocks that halve.
    """
    network = _torchvisions("mobilenet_v2", num_classes)
    if small_images:
        _keep_resolution(network, "features.0", "features.2")
    return network


def efficientnet_b0(num_classes: int, small_images: bool) -> nn.Module:
    """Returns EfficientNet-B0 (Tan & Le, 2019): 4,020,358 parameters for 10 classes.

    The small stem has stride 1 in the first convolution and in the first of the blocks that halve.
    """
    network = _torchvisions("efficientnet_b0", num_classes)
    if small_images:
        _keep_resolution(network, "features.0", "features.2")
    return network


def vgg11_bn(num_classes: int, small_images: bool) -> nn.Module:
    """Returns VGG-11 with batch norm (Simonyan & Zisserman, 2014).

    For small images the mean of the last features goes into one linear layer: 9,231,114 parameters
    for 10 classes. Torchvision's three large layers have 119 million by themselves.
    """
    if not small_images:
        return _torchvisions("vgg11_bn", num_classes)
    from torchvision.models import vgg

    features = vgg.make_layers(vgg.cfgs["A"], batch_norm=True)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            _draw(layer)
    classifier = nn.Linear(512, num_classes)
    return nn.Sequential(
        OrderedDict(
            features=features, avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=classifier
        )
    )


def alexnet(num_classes: int, small_images: bool) -> nn.Module:
    """Returns AlexNet in torchvision's form (Krizhevsky, "One weird trick", 2014).

    For small images a 3x3 convolution of stride 1 stands first, 3x3 features are kept, and the two
    hidden layers have 1,024 units: 5,868,362 parameters for 10 classes, in place of 57 million.
    """
    network = _torchvisions("alexnet", num_classes)
    if small_images:
        network.set_submodule("features.0", nn.Conv2d(3, 64, 3, padding=1))
        network.set_submodule("avgpool", nn.AdaptiveAvgPool2d(3))
        network.set_submodule("classifier.1", nn.Linear(256 * 9, 1024))
        network.set_submodule("classifier.4", nn.Linear(1024, 1024))
        network.set_submodule("classifier.6", nn.Linear(1024, num_classes))
    return network


STEMMED_NETWORKS = {
    "alexnet": alexnet,
    "efficientnet_b0": efficientnet_b0,
    "mobilenet_v2": mobilenet_v2,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "vgg11_bn": vgg11_bn,
}


def _torchvisions(name: str, num_classes: int) -> nn.Module:
    """Returns torchvision's network; imported here, since that takes a second."""
    import torchvision.models

    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    return network


def _resnet(network: nn.Module, small_images: bool) -> nn.Module:
    if small_images:
        stem = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        _draw(stem)
        network.set_submodule("conv1", stem)
        network.set_submodule("maxpool", nn.Identity())
    return network


def _keep_resolution(network: nn.Module, *blocks: str) -> None:
    """Gives every convolution of the named blocks stride 1."""
    for block in blocks:
        for layer in network.get_submodule(block).modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)


def _draw(convolution: nn.Conv2d) -> None:
    """Draws the weights as torchvision does (He et al., "Delving deep into rectifiers", 2015)."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
