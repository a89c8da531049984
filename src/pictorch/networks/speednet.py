"""A plain convolutional network that learns fast: the family behind the fast packaged recipes."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.kernels.layers import Conv3x3

WIDTHS = (64, 256, 256)
DEPTH = 2


class SpeedNet(nn.Module):
    """Groups of 3x3 convolutions, each group at half of the resolution of the one before.

    The first convolution of a group is followed by max-pooling, then come batch norm and activation, so
    that these have a quarter of the work. With `depth` 3 a shortcut leads around the last two of a group.
    The maximum over the last maps goes into one linear layer. With widths 64, 256, 256, depth 2 and 10
    classes it has 1,972,792 parameters. It follows K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU", 2024, and D. Page, "How to train your ResNet", 2019.
    """

    # What a recipe's model section says where it leaves these open.
    own_options: ClassVar[dict[str, Any]] = {
        "init": "dirac",
        "whitening": True,
        "whitening_keeps_size": False,
        "norm_scale": "fixed",
        "norm_momentum": 0.4,
        "logit_scale": 1 / 9,
    }

    def __init__(
        self, num_classes: int, widths: tuple[int, ...] | None = None, depth: int | None = None
    ) -> None:
        super().__init__()
        widths, depth = widths or WIDTHS, depth or DEPTH
        channels = (3, *widths[:-1])
        self.groups = nn.Sequential(
            *(_Group(before, after, depth) for before, after in zip(channels, widths, strict=True))
        )
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes)."""
        logits: Tensor = self.head(self.groups(images_nchw).amax((2, 3)))
        return logits


class _Group(nn.Module):
    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        inputs = [in_channels, *[channels] * (depth - 1)]
        self.convolutions = nn.ModuleList(nn.Conv2d(n, channels, 3, padding=1, bias=False) for n in inputs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in inputs)
        self.activations = nn.ModuleList(nn.SiLU() for _ in inputs)
        self.has_shortcut = depth > 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.activations[0](self.norms[0](_pooled(self.convolutions[0], x)))
        shortcut, last = x, len(self.convolutions) - 1
        for place in range(1, last + 1):
            x = self.norms[place](self.convolutions[place](x))
            if self.has_shortcut and place == last:
                x = x + shortcut
            x = self.activations[place](x)
        return x


def _pooled(convolution: nn.Module, x: Tensor) -> Tensor:
    """Returns what a convolution gives, max-pooled 2x2; by kernels of our own it is one step."""
    *whitening, last = convolution if isinstance(convolution, nn.Sequential) else [convolution]
    if not isinstance(last, Conv3x3):
        return F.max_pool2d(convolution(x), 2)
    for layer in whitening:
        x = layer(x)
    return last.forward_pool2(x)
