"""From the bytes of an image file to uint8 pixels: the one decoder of training, prediction and server.

Shrinking and cutting to the stored size happens here and nowhere else; what is done to the pixels
after that (enlargement, normalisation) belongs to the network's graph.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from pictorch.errors import CheckpointError, DataError
from pictorch.plain_png import plain_png

Pixels = NDArray[np.uint8]
Fit = Literal["crop", "pad", "stretch"]
SizeCheck = Callable[[int, int], None]

MAX_PIXELS = 178_956_970  # 0.5 GB as RGB; where Pillow's own guard refuses too
ALLOWED_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
PAD_GREY = 128  # what pad puts beside an image, of 255

# What stands in data.json and the bundle for each fit.
_FITS: dict[Fit, str] = {"crop": "centre-crop", "pad": f"pad with grey {PAD_GREY}", "stretch": "stretch"}

_RESAMPLING = Image.Resampling.BICUBIC  # widened by Pillow when it shrinks, so without aliasing
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REMEDY = f"use one of {', '.join(ALLOWED_FORMATS)}"
_DAMAGED_BEGINNINGS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_OTHER_BEGINNINGS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<svg": "an SVG drawing",
    b"%pdf": "a PDF",
    b"8bps": "a Photoshop file",
    b"pk\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x00\x00\x00\x0cjp": "a JPEG 2000 file",
}


class TooManyPixelsError(DataError):
    """An image of more than MAX_PIXELS."""


@dataclass(frozen=True)
class InputSpec:
    """What a network is fed: uint8 (N, stored_size, stored_size, 3) RGB, enlarged to image_size inside."""

    stored_size: int
    image_size: int
    fit: Fit = "crop"

    def to_json(self) -> dict[str, Any]:
        """Returns the whole description, the fixed parts included, for data.json and the bundle."""
        return {
            "stored_size": self.stored_size,
            "image_size": self.image_size,
            "dtype": "uint8",
            "layout": "NHWC",
            "color": "RGB",
            "fit": _FITS[self.fit],
            "alpha": "white",
            "resampling": _RESAMPLING.name.lower(),
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "InputSpec":
        """Returns the spec that `to_json` described; raises CheckpointError for any other treatment."""
        fits: dict[Any, Fit] = {text: fit for fit, text in _FITS.items()}
        spec = InputSpec(record["stored_size"], record["image_size"], fits.get(record.get("fit"), "crop"))
        for key, value in spec.to_json().items():
            if record.get(key) != value:
                raise CheckpointError(
                    f"input description: {key} is {record.get(key)!r}, which this pictorch does not know; "
                    "upgrade with `pip install -U pictorch`"
                )
        return spec


@dataclass(frozen=True)
class Decoded:
    """One fitted image and what its file was like: upright width and height in pixels, and frames."""

    pixels: Pixels
    width: int
    height: int
    several_frames: bool

    def side(self, fit: Fit) -> int:
        """Returns the side of the square that the whole image fills, see side_of."""
        return side_of(self.width, self.height, fit)


@dataclass(frozen=True)
class WholeImage:
    """An image file as it is: all its pixels, upright and RGB, and what Pillow calls format and mode."""

    pixels: Pixels
    kind: str = ""
    mode: str = "RGB"
    several_frames: bool = False
    turned: bool = False  # by its EXIF orientation

    def brightness_counts(self) -> NDArray[np.int64]:
        """Returns how many pixels have each brightness, int64 (3, 256)."""
        return np.array(Image.fromarray(self.pixels).histogram(), np.int64).reshape(3, 256)


def decode_image(
    data: bytes, stored_size: int, name: str = "image", fit: Fit = "crop", check: SizeCheck | None = None
) -> Pixels:
    """Returns the image as uint8 RGB (stored_size, stored_size, 3); raises DataError with `name`.

    The image is turned upright (EXIF), laid on white where it is transparent, 16-bit grey cut to
    its high byte, and resampled to the stored size (kept exactly where it has that size): its largest
    centred square (crop), the whole between two bars of grey 128 (pad), or the whole with another ratio
    of the sides (stretch). Of an animation the first frame is used. `check` is given width and height
    as the header says them, before anything is decoded; a DataError that it raises is passed on.
    """
    return decode(data, stored_size, name, fit, check).pixels


def decode(
    data: bytes, stored_size: int, name: str = "image", fit: Fit = "crop", check: SizeCheck | None = None
) -> Decoded:
    """Returns what decode_image returns, with the facts of the file; raises DataError with `name`."""
    plain = plain_png(data)
    if plain is not None:
        if check is not None:
            check(*plain.size)
        if (pixels := plain.pixels()) is not None:
            return fit_pixels(pixels, stored_size, fit)
    with _opened(data, name) as image:
        if check is not None and plain is None:
            check(*image.size)
        image.load()
        upright = _upright(image)
        fitted = _fitted(upright, stored_size, fit)
        return Decoded(fitted, upright.width, upright.height, _has_several_frames(image))


def fit_image(image: Image.Image, stored_size: int, name: str = "image", fit: Fit = "crop") -> Pixels:
    """Returns what decode_image returns, of an image that Pillow holds; raises DataError with `name`."""
    with _pillow_quiet(), _explained(shown(name)):
        image.load()
        return _fitted(_upright(image), stored_size, fit)


def read_whole(data: bytes, name: str = "image") -> WholeImage:
    """Returns the whole image, neither cut nor resized; raises DataError with `name`."""
    with _opened(data, name) as image:
        kind, mode = image.format or "", image.mode
        image.load()
        upright = _upright(image)
        pixels = np.asarray(_rgb(upright))
        return WholeImage(pixels, kind, mode, _has_several_frames(image), upright is not image)


def side_of(width: int, height: int, fit: Fit) -> int:
    """Returns the side of the square that an image fills without being resampled, in pixels.

    The shorter side where the square is cut out, the longer one where the whole image is kept.
    """
    return min(width, height) if fit == "crop" else max(width, height)


def side_in_header(data: bytes, name: str = "image", fit: Fit = "crop") -> int:
    """Returns the same of an image file, from its header alone; raises DataError with `name`."""
    with _opened(data, name) as image:
        return side_of(*image.size, fit)


def fit_pixels(pixels: Pixels, stored_size: int, fit: Fit = "crop") -> Decoded:
    """Returns RGB pixels (H, W, 3), fitted as decode_image fits the pixels of a file."""
    height, width = pixels.shape[:2]
    if height == width == stored_size:
        return Decoded(pixels, width, height, several_frames=False)
    fitted = _fitted(Image.fromarray(pixels), stored_size, fit)
    return Decoded(fitted, width, height, several_frames=False)


def shown(name: str) -> str:
    """Returns a file name as it can stand in one line: control and undecodable characters escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


class _UnusableError(Exception):
    """Why an image that Pillow can read is refused all the same; becomes a DataError."""


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Yields the image with its header checked; everything that Pillow raises becomes a DataError."""
    label = shown(name)
    if not data:
        raise DataError(f"{label}: the file is empty (0 bytes); copy it again")
    source = io.BytesIO(data)
    with (
        _pillow_quiet(),
        _explained(label, data),
        Image.open(source, formats=ALLOWED_FORMATS) as image,
    ):
        if image.width * image.height > MAX_PIXELS:
            raise _too_many_pixels(label)
        yield image


@contextmanager
def _explained(label: str, data: bytes = b"") -> Iterator[None]:
    """Makes a DataError of whatever Pillow raises over an image, and over its bytes where there are any."""
    try:
        yield
    except _UnusableError as error:
        raise DataError(f"{label}: {error}") from None
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(label) from None
    except UnidentifiedImageError:
        raise DataError(f"{label}: {_not_an_image(data)}") from None
    except MemoryError:
        raise DataError(f"{label}: not enough memory to decode it; make the image smaller") from None
    except Exception as error:  # a decoder fed with anything can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        size = f" of {len(data):,} bytes" if data else ""
        raise DataError(f"{label}: damaged or truncated image{size} ({reason}); copy it again") from None


def _too_many_pixels(label: str) -> TooManyPixelsError:
    return TooManyPixelsError(f"{label}: more than {MAX_PIXELS:,} pixels; make the image smaller first")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF says nothing about the pixels
        orientation = 1
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _fitted(image: Image.Image, stored_size: int, fit: Fit) -> Pixels:
    if fit == "crop" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    rgb, size = _rgb(image), (stored_size, stored_size)
    if fit == "pad":
        width, height = (max(1, round(side * stored_size / max(image.size))) for side in image.size)
        size = (width, height)
    if rgb.size != size:
        rgb = rgb.resize(size, _RESAMPLING)
    if rgb.width == rgb.height:
        return np.array(rgb)
    square = np.full((stored_size, stored_size, 3), PAD_GREY, np.uint8)
    left, top = (stored_size - rgb.width) // 2, (stored_size - rgb.height) // 2
    square[top : top + rgb.height, left : left + rgb.width] = np.asarray(rgb)
    return square


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise _UnusableError("32-bit float pixels have no known white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        on_white = Image.new("RGB", image.size, "white")
        on_white.paste(rgba, mask=rgba.getchannel("A"))
        return on_white
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Returns the high byte of 16-bit grey as RGB; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise _UnusableError("grey values beyond 16 bits have no known white; save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")


def _has_several_frames(image: Image.Image) -> bool:
    with suppress(Exception):
        return bool(getattr(image, "is_animated", False))
    return True  # there is a second frame, but a damaged one, which is nothing to the first


def _not_an_image(data: bytes) -> str:
    for beginning, format_name in _DAMAGED_BEGINNINGS.items():
        if data.startswith(beginning):
            return f"damaged or truncated {format_name} of {len(data):,} bytes; copy it again"
    start = data[:512].lstrip().lower()
    for beginning, thing in _OTHER_BEGINNINGS.items():
        if start.startswith(beginning):
            return f"not an image that is read here (it is {thing}); {_REMEDY}"
    if data[4:8] == b"ftyp":
        return f"not an image that is read here (it is an AVIF, HEIC or MP4 file); {_REMEDY}"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):
        return f"not an image (it starts like text); {_REMEDY}"
    return f"not an image (it starts with the bytes {data[:4].hex(' ')}); {_REMEDY}"


class _QuietGate:
    """Counts the threads inside, for warnings.catch_warnings alone is not safe among threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.saved: warnings.catch_warnings[None] | None = None


_GATE = _QuietGate()


@contextmanager
def _pillow_quiet() -> Iterator[None]:
    """Silences what Pillow's modules warn of (odd metadata, large sizes) while any thread decodes."""
    with _GATE.lock:
        if _GATE.inside == 0:
            _GATE.saved = warnings.catch_warnings()
            _GATE.saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _GATE.inside += 1
    try:
        yield
    finally:
        with _GATE.lock:
            _GATE.inside -= 1
            if _GATE.inside == 0 and _GATE.saved is not None:
                _GATE.saved.__exit__(None, None, None)
