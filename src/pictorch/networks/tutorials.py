"""The networks of the CIFAR-10 tutorials, with the tutorials' own parameter names."""

import torch.nn.functional as F
from torch import Tensor, nn


class SimpleNet(nn.Module):
    """Two convolutions and one linear layer: 25,578 parameters for 32x32 images and 10 classes."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * (image_size // 4) ** 2, num_classes)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        x = F.max_pool2d(F.relu(self.conv1(images_nchw)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        logits: Tensor = self.fc1(x.flatten(1))
        return logits


class Cifar10Cnn(nn.Module):
    """Four convolutions with batch norm, two linear layers: 2,168,746 parameters at 32x32, 10 classes."""

    def __init__(self, num_classes: int, image_size: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 32), *_convolution(32, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), *_convolution(64, 64), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (image_size // 4) ** 2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
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
