"""The whole graph from stored pixels to logits: normalisation, enlargement, network."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.images import InputSpec


class Normalization(nn.Module):
    """Turns uint8 images (N, H, W, 3) into normalised float images (N, 3, S, S).

    The mean and deviation are buffers, so that they travel with the weights and into the export.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.channels_last = True
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("std", torch.full((3,), 0.5))

    def fill(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Sets the mean and deviation of the channels, fractions of full brightness."""
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the network's input in the type of the buffers, in N,H,W,C order in memory unless
        `channels_last` was switched off.
        """
        if torch.compiler.is_compiling():  # for export too, whose graphs stay as they were
            scale = (self.std * 255).reciprocal()[:, None, None]
            shift = (self.mean / self.std)[:, None, None]
            images_nchw = images.permute(0, 3, 1, 2).to(self.mean.dtype) * scale - shift
        else:
            images_nchw = self._by_rows(images)
        if images_nchw.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            images_nchw = F.interpolate(images_nchw, size, mode="bilinear", align_corners=False)
        return images_nchw if self.channels_last else images_nchw.contiguous()

    def _by_rows(self, images: Tensor) -> Tensor:
        """Does the same arithmetic on whole rows, since three channels are too few for a CPU's vectors."""
        count, height, width, channels = images.shape
        scale, shift = (self.std * 255).reciprocal(), self.mean / self.std
        rows = images.reshape(count, height, width * channels).to(self.mean.dtype, copy=True)
        scale, shift = (one.expand(width, channels).reshape(-1) for one in (scale, shift))
        return rows.mul_(scale).sub_(shift).view(images.shape).permute(0, 3, 1, 2)


class Classifier(nn.Module):
    """A network with everything around it that prediction needs; images in, logits out."""

    def __init__(
        self, network: nn.Module, input_spec: InputSpec, num_classes: int, logit_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.normalization = Normalization(input_spec.image_size)
        self.network = network
        self.input_spec = input_spec
        self.num_classes = num_classes
        self.logit_scale = logit_scale

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, num_classes) for uint8 images (N, H, W, 3)."""
        logits = cast(Tensor, self.network(self.normalization(images)))
        return logits if self.logit_scale == 1 else logits * self.logit_scale
