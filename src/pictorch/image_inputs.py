"""What a predictor is given as images: paths, bytes, file objects, PIL images and arrays, mixed."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pictorch.errors import DataError
from pictorch.image_files import Refusal, found_files, read_image_file
from pictorch.images import InputSpec, decode_image, fit_image, fit_pixels

ImageInput = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]

_TAKEN = (
    "give a path, bytes, a file object, a PIL image or a uint8 array (height, width, 3), (height, width, 4) "
    "or (height, width)"
)


@dataclass(frozen=True)
class Given:
    """An image whose turn has come; `named` as in Refusal."""

    image: ImageInput | Refusal
    name: str
    named: bool

    def fitted(self, spec: InputSpec) -> NDArray[np.uint8] | Refusal:
        """Returns the image as uint8 (stored_size, stored_size, 3), or why there is none."""
        if isinstance(self.image, Refusal):
            return self.image
        try:
            return _pixels(self.image, spec, self.name)
        except DataError as error:
            return Refusal(self.name, str(error), self.named)


def is_one_image(images: Any) -> bool:
    """Returns whether this is one image, which iterated over would be many: its bytes, or its rows."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (3, 4))
    is_path_or_bytes = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    return is_path_or_bytes or isinstance(images, Image.Image) or hasattr(images, "read")


def given_images(images: Iterable[ImageInput]) -> Iterator[Given]:
    """Yields each image with its name: its path, or its place in the list."""
    for place, image in enumerate(images):
        if not isinstance(image, str | os.PathLike):
            yield Given(image, f"image {place}", named=True)
        elif (files := found_files(image)) is None:
            yield Given(image, os.fspath(image), named=True)
        else:
            for file in files:
                yield Given(file, file if isinstance(file, str) else file.source, named=False)


def _pixels(image: Any, spec: InputSpec, name: str) -> NDArray[np.uint8]:
    """Returns the image fitted to uint8 (stored_size, stored_size, 3); raises DataError."""
    size, fit = spec.stored_size, spec.fit
    if isinstance(image, str | os.PathLike):
        image = read_image_file(os.fspath(image))
    elif hasattr(image, "read"):
        image = _whole(image, name)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), size, name, fit)
    if isinstance(image, Image.Image):
        return fit_image(image, size, name, fit)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        match image.shape:
            case (_, _, 3):
                return fit_pixels(image, size, fit).pixels
            case (_, _) | (_, _, 4):
                return fit_image(Image.fromarray(image), size, name, fit)
    raise DataError(f"{name} is {_in_words(image)}; {_TAKEN}")


def _whole(file: Any, name: str) -> bytes:
    """Returns all that a file object holds, from its start where it can go back."""
    try:
        if file.seekable():
            file.seek(0)
        data = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{name} is a file object that cannot be read ({error}); open it again") from None
    if isinstance(data, bytes):
        return data
    raise DataError(f"{name} is a file object of text; open it in binary, with open(path, 'rb')")


def _in_words(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} and shape {image.shape}"
    return f"a {type(image).__name__}"
