"""The networks of the CIFAR-10 tutorials, with the tutorials' own parameter names."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """Two 5x5 convolutions and three linear layers: 62,006 parameters for 32x32 images, 10 classes.

    After LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998),
    with ReLU and max-pooling.
    """

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * (((image_size - 4) // 2 - 4) // 2) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        x = F.max_pool2d(self.relu1(self.conv1(images_nchw)), 2)
        x = F.max_pool2d(self.relu2(self.conv2(x)), 2)
        x = self.relu3(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(self.relu4(self.fc2(x)))
        return logits


class SimpleNet(nn.Module):
    """Two convolutions and one linear layer: 25,578 parameters for 32x32 images and 10 classes."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * (image_size // 4) ** 2, num_classes)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        x = F.max_pool2d(self.relu1(self.conv1(images_nchw)), 2)
        x = F.max_pool2d(self.relu2(self.conv2(x)), 2)
        logits: Tensor = self.fc1(x.flatten(1))
        return logits


class SmallBnCnn(nn.Module):
    """Two narrow convolutions with batch norm, three linear layers: 81,346 parameters at 32x32 pixels."""

    # What the tutorial's text calls the layers, in place of its notebook.
    other_names: ClassVar = {"fc1": "linear1", "fc2": "linear2", "fc3": "out"}

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.bn2 = nn.BatchNorm2d(16)
        self.linear1 = nn.Linear(16 * (((image_size - 2) // 2 - 2) // 2) ** 2, 120)
        self.dropout1 = nn.Dropout(0.5)
        self.linear2 = nn.Linear(120, 84)
        self.dropout2 = nn.Dropout(0.5)
        self.out = nn.Linear(84, num_classes)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        x = F.max_pool2d(self.relu1(self.bn1(self.conv1(images_nchw))), 2)
        x = F.max_pool2d(self.relu2(self.bn2(self.conv2(x))), 2)
        x = self.dropout1(self.relu3(self.linear1(x.flatten(1))))
        x = self.dropout2(self.relu4(self.linear2(x)))
        logits: Tensor = self.out(x)
        return logits


class Cifar10Cnn(nn.Module):
    """Four convolutions with batch norm, two linear layers: 2,168,746 parameters at 32x32, 10 classes."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 32), *_convolution(32, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), *_convolution(64, 64), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (image_size // 4) ** 2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(512, num_classes),
        )

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        logits: Tensor = self.classifier(self.features(images_nchw))
        return logits


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
