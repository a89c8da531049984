"""A fixed first layer that whitens patches of the images, for any network that begins with a convolution.

The patch-whitening stem of D. Page, "How to train your ResNet 8: bag of tricks", 2019, in the form of
K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.2.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH_SIDE = 2

_SMALLEST_VARIANCE = 5e-4  # added to each, so that what hardly varies is not blown up
_PIXELS_AT_ONCE = 1 << 18


class PatchWhitening(nn.Conv2d):
    """A convolution whose filters are the principal components of patches, each with both signs.

    The output channels have variance 1 and no correlation but that of a component with its negative. Only
    the bias learns. Images become smaller by a pixel, unless `keeps_size` adds one to the right and below.
    """

    def __init__(self, in_channels: int, keeps_size: bool) -> None:
        components = in_channels * PATCH_SIDE**2
        super().__init__(in_channels, 2 * components, PATCH_SIDE)
        self.keeps_size = keeps_size
        self.weight.requires_grad_(False)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns (N, 8 C, H, W), or (N, 8 C, H - 1, W - 1), for images (N, C, H, W)."""
        return super().forward(F.pad(images_nchw, (0, 1, 0, 1)) if self.keeps_size else images_nchw)

    @torch.no_grad()
    def fill(self, images_nchw: Tensor) -> None:
        """Computes the filters from images (N, C, H, W) as the layer is given them."""
        size, count = self.weight[0].numel(), 0
        products = torch.zeros((size, size), dtype=torch.float64)
        for chunk in torch.split(images_nchw, max(1, _PIXELS_AT_ONCE // images_nchw[0, 0].numel())):
            patches = F.unfold(chunk, PATCH_SIDE).transpose(1, 2).reshape(-1, size).double()
            products += patches.T @ patches
            count += len(patches)
        variances, components = torch.linalg.eigh(products / count)
        filters = (components / (variances + _SMALLEST_VARIANCE).sqrt()).T.flip(0)
        # The sign of a component is the solver's choice: made one that follows from the component.
        signs = filters.gather(1, filters.abs().argmax(1, keepdim=True)).sign()
        self.weight.copy_(torch.cat([filters * signs, -filters * signs]).view(self.weight.shape))


def begin_with_whitening(
    network: nn.Module, stem: str, activation: Callable[[], nn.Module], keeps_size: bool
) -> None:
    """Puts a whitening of 2x2 patches and an activation before the first convolution, named `stem`.

    That convolution is drawn anew, since it has more input channels now.
    """
    old = network.get_submodule(stem)
    assert isinstance(old, nn.Conv2d)
    whitening = PatchWhitening(old.in_channels, keeps_size)
    new = nn.Conv2d(
        whitening.out_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parts = OrderedDict(whitening=whitening, activation=activation(), convolution=new)
    network.set_submodule(stem, nn.Sequential(parts))
