"""What a foreign model is fed: the way from uint8 images to its input, in NumPy and as nodes of ONNX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pictorch.errors import CheckpointError, RecipeError
from pictorch.importing.foreign_onnx import ForeignModel, dimensions

LAYOUTS, PIXELS = ("nchw", "nhwc"), ("0-1", "0-255")

_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT8: np.uint8,
}
_CHANNELS = {1: "grey", 3: "RGB"}
# Pillow's grey (ITU-R 601-2), of 65,536: whole numbers that float32 sums exactly, as Pillow does.
_GREY = np.array([19595, 38470, 7471], np.float32)
_GREY_HALF, _GREY_ONE = 0x8000, 0x10000


@dataclass(frozen=True)
class Feed:
    """How images, uint8 (N, size, size, 3), become the input of a foreign model.

    `white` is the value of full brightness, 1 or 255; `mean` and `std` are in its units, one for each of
    `channels` (3, or 1 for grey). `shape` is that of one image in the input, `batch` the only number of
    images that it takes, None for any.
    """

    size: int
    channels: int
    layout: str
    white: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, ...]
    element: int
    batch: int | None

    def arrays(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Returns what the foreign model is fed for images, (N, *shape) in its own type."""
        pixels: NDArray[Any] = images
        if self.channels == 1:
            grey = images.astype(np.int64) @ _GREY.astype(np.int64)
            pixels = ((grey + _GREY_HALF) // _GREY_ONE)[..., np.newaxis]
        scale, shift = self._scale_and_shift()
        values = pixels.astype(np.float32) * scale - shift
        if self.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values).reshape(-1, *self.shape).astype(_TYPES[self.element])

    def nodes(self, images: str, fed: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """Returns the nodes from the tensor `images` to the tensor `fed`, and their constants."""
        nodes, constants = list[NodeProto](), list[TensorProto]()

        def step(operator: str, constant: Any = None, **attributes: Any) -> None:
            inputs = [nodes[-1].output[0] if nodes else images]
            if constant is not None:
                inputs.append(f"pictorch.constant_{len(nodes)}")
                constants.append(numpy_helper.from_array(np.asarray(constant), inputs[-1]))
            nodes.append(helper.make_node(operator, inputs, [f"pictorch.step_{len(nodes)}"], **attributes))

        is_planar = self.layout == "nchw"
        if is_planar and self.channels == 3:
            step("Transpose", perm=[0, 3, 1, 2])
        step("Cast", to=TensorProto.FLOAT)
        if self.channels == 1:
            step("MatMul", _GREY[:, np.newaxis])
            step("Add", np.float32(_GREY_HALF))
            step("Mul", np.float32(1 / _GREY_ONE))
            step("Floor")
        beside = (-1, 1, 1) if is_planar and self.channels == 3 else (-1,)
        scale, shift = self._scale_and_shift()
        step("Mul", scale.reshape(beside))
        step("Sub", shift.reshape(beside))
        if self.element != TensorProto.FLOAT:
            step("Cast", to=self.element)
        if self.channels == 1 or len(self.shape) == 1:
            step("Reshape", np.array([0, *self.shape], np.int64))
        nodes[-1].output[0] = fed
        return nodes, constants

    def _scale_and_shift(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns what pixels are multiplied by, and what is taken from them then, one for each channel.

        In float32 in both forms, lest a model of float16 is fed what rounds otherwise.
        """
        std = np.array(self.std)
        scale, shift = self.white / (255 * std), np.array(self.mean) / std
        return scale.astype(np.float32), shift.astype(np.float32)


def feed_of(
    foreign: ForeignModel,
    *,
    size: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    layout: str | None,
    pixels: str,
) -> Feed:
    """Returns what a model is fed for square images of `size` pixels, as far as its input leaves it open.

    `layout` is asked for where the shape does not tell it; of pixels in one row it is nhwc unless named.
    Raises CheckpointError for an input that no image fits, RecipeError for options that it does not.
    """
    name, element = foreign.name, foreign.input.type.tensor_type.elem_type
    if element not in _TYPES:
        kind = TensorProto.DataType.Name(element).lower()
        raise CheckpointError(
            f"{name} takes {foreign.input.name} of type {kind}; export it again with images as float or uint8"
        )
    stated = dimensions(foreign.input)
    if stated is None:
        stated = [None] * 4
    if len(stated) not in (2, 3, 4):
        raise CheckpointError(
            f"{name} takes {_in_words(stated)}, which no images are; export it again for (N, C, H, W), "
            "(N, H, W, C), (N, H, W) or (N, pixels)"
        )
    batch = stated[0]
    if batch not in (None, 1):
        raise CheckpointError(
            f"{name} takes {batch} images at a time; export it again with a dynamic batch dimension"
        )
    order, channels = _order(stated, layout, size, name)
    if channels not in _CHANNELS:
        raise RecipeError(
            f"{name} takes {_in_words(stated)}: {channels} channels in the order {order}, and images have "
            "3 or 1 (grey); give the other --layout, or export it again"
        )
    _check_sides(stated, order, channels, size, name)
    shapes = {
        2: (size * size * channels,),
        3: (size, size),
        4: (channels, size, size) if order == "nchw" else (size, size, channels),
    }
    white = 255 if pixels == "0-255" or element == TensorProto.UINT8 else 1
    means, stds = _each("--mean", mean, channels, 0.0), _each("--std", std, channels, 1.0)
    if white == 1 and max(*means, *stds) > 1:
        raise RecipeError(
            f"--mean {means[0]:g} --std {stds[0]:g}: full brightness is 1; for a model whose pixels go to "
            "255 add `--pixels 0-255`"
        )
    if element == TensorProto.UINT8 and (mean is not None or std is not None):
        raise RecipeError(f"{name} takes pixels as they are, of type uint8; leave out --mean and --std")
    return Feed(size, channels, order, white, means, stds, shapes[len(stated)], element, batch)


def _order(stated: list[int | None], layout: str | None, size: int, name: str) -> tuple[str, int]:
    """Returns the layout and the number of channels."""
    if len(stated) == 3:
        return layout or "nhwc", 1
    if len(stated) == 2:
        return layout or "nhwc", 1 if stated[1] == size * size else 3
    is_planar, is_interleaved = stated[1] in _CHANNELS, stated[3] in _CHANNELS
    if layout is None and is_planar == is_interleaved:
        raise RecipeError(
            f"{name} takes {_in_words(stated)}, which does not say where the channels are; add "
            "`--layout nchw` (PyTorch's order) or `--layout nhwc` (Keras's)"
        )
    order = layout or ("nchw" if is_planar else "nhwc")
    return order, stated[LAYOUTS.index(order) * 2 + 1] or 3


def _check_sides(stated: list[int | None], order: str, channels: int, size: int, name: str) -> None:
    if len(stated) == 2:
        pixels = stated[1] or size * size * channels
        if pixels == size * size * channels:
            return
        sides = [math.isqrt(pixels // each) for each in _CHANNELS if not pixels % each]
        fitting = [side for side, each in zip(sides, _CHANNELS, strict=False) if side * side * each == pixels]
    else:
        height, width = stated[2:] if (order, len(stated)) == ("nchw", 4) else stated[1:3]
        if {height, width} <= {size, None}:
            return
        fitting = [side for side in (height or width,) if side is not None and (width or side) == side]
    remedy = f"add `--input-size {fitting[0]}`" if fitting else "export it again for square images"
    raise RecipeError(f"--input-size {size}: {name} takes {_in_words(stated)}; {remedy}")


def _each(flag: str, given: Sequence[float] | None, channels: int, default: float) -> tuple[float, ...]:
    values = (default,) if given is None else tuple(given)
    is_std = flag == "--std"
    if len(values) not in (1, channels) or not all(
        math.isfinite(value) and (value > 0 or not is_std) for value in values
    ):
        shown = " ".join(f"{value:g}" for value in values)
        kind = "positive number" if is_std else "number"
        raise RecipeError(
            f"{flag} {shown} does not fit; give 1 {kind} for all channels of the images or {channels}"
        )
    return tuple(map(float, values)) * (channels // len(values))


def _in_words(stated: list[int | None]) -> str:
    return f"({', '.join('any' if each is None else str(each) for each in stated)})"


def describe(feed: Feed) -> dict[str, Any]:
    """Returns what is fed, as bundle.json keeps it."""
    return {
        "layout": feed.layout,
        "channels": _CHANNELS[feed.channels],
        "pixels": f"0-{feed.white}",
        "mean": list(feed.mean),
        "std": list(feed.std),
        "shape": list(feed.shape),
    }
