"""The layers of a network that can train by `conv3x3`, and putting it in their place and back."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pictorch.kernels.operator import conv3x3, conv3x3_pool2, suits


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that trains by `conv3x3`.

    In evaluation mode it is torch's own, so that validation judges what is exported. Weights, their names
    and what a copy holds are those of the layer whose place it takes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the output (N, O, H, W) for an input (N, C, H, W)."""
        if self.training and input.ndim == 4:
            output: Tensor = conv3x3(input, self.weight, self.bias)
            return output
        return super().forward(input)

    def forward_pool2(self, input: Tensor) -> Tensor:
        """Returns the output max-pooled 2x2, (N, O, H // 2, W // 2): in training, in one step."""
        if self.training and input.ndim == 4:
            return conv3x3_pool2(input, self.weight, self.bias)
        return F.max_pool2d(self(input), 2)


@dataclass(frozen=True)
class OwnConvolutions:
    """The layers of a network that train by the kernels, by name, and which kernels: instructions and build.

    Bits depend on all three. Without layers, all convolutions are torch's.
    """

    layers: tuple[str, ...] = ()
    instruction_set: str = ""
    build: str = ""

    @classmethod
    def recorded(cls, record: Mapping[str, Any] | None) -> "OwnConvolutions":
        """Returns them from what `to_json` gave; older runs have no record, and no such layer."""
        return cls(**{**record, "layers": tuple(record["layers"])}) if record else cls()

    def to_json(self) -> dict[str, Any] | None:
        """Returns the record of environment.json and checkpoints; None where there is no such layer."""
        return {**asdict(self), "layers": list(self.layers)} if self.layers else None

    def told(self) -> str:
        """Returns them in a few words."""
        count, kernels = len(self.layers), f"{self.instruction_set}, build {self.build}"
        return f"own for {count} layer{'s' if count > 1 else ''} ({kernels})" if count else "torch's"


TORCHS = OwnConvolutions()


class Shape(NamedTuple):
    """The sizes of a convolution in training; the input of a `is_first` layer needs no gradient."""

    images: int
    height: int
    width: int
    inputs: int
    outputs: int
    has_bias: bool
    is_first: bool

    def text(self) -> str:
        """Returns the sizes as they are kept and shown, as '128 x 32x32, 64 -> 64'."""
        ends = (" + bias" if self.has_bias else "") + (", first" if self.is_first else "")
        return f"{self.images} x {self.height}x{self.width}, {self.inputs} -> {self.outputs}{ends}"


def suitable_layers(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Returns by name the layers that `conv3x3` can stand for; a subclass may do something else."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if type(layer) in (nn.Conv2d, Conv3x3) and isinstance(layer, nn.Conv2d) and suits(layer)
    }


def use_conv3x3(network: nn.Module, names: Collection[str]) -> None:
    """Lets the suitable layers of these names train by `conv3x3`, the others by torch's own."""
    for name, layer in suitable_layers(network).items():
        layer.__class__ = Conv3x3 if name in names else nn.Conv2d


def shapes_of(network: nn.Module, images: Tensor, batch_size: int) -> dict[str, list[Shape]]:
    """Returns for each suitable layer the sizes of its calls in a forward pass of `batch_size` images.

    `images` is a small batch that the network takes; it is left in training mode, and its statistics change.
    """
    found: dict[str, list[Shape]] = {}

    def note(name: str, layer: nn.Conv2d, x: Tensor) -> None:
        if x.ndim == 4:
            count, inputs, height, width = x.shape
            sizes = (batch_size * count // len(images), height, width, inputs, layer.out_channels)
            found.setdefault(name, []).append(Shape(*sizes, layer.bias is not None, not x.requires_grad))

    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs, name=name: note(name, layer, inputs[0]))
        for name, layer in suitable_layers(network).items()
    ]
    try:
        with torch.enable_grad():
            network.train()(images)
    finally:
        for handle in handles:
            handle.remove()
    return found
