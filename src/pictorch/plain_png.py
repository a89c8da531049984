"""The commonest small PNG: 8-bit RGB or grey and nothing else in it, for images.py.

Pillow decodes its pixels in 30 µs (32 x 32) and needs as much again to find the format and read the parts of
the file, which are at fixed places here. The Python around its decoder takes a quarter more, so it is
called itself; should a new Pillow have another, the ordinary way remains.
"""

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8sI4sIIBBBBBII4s")  # signature, whole IHDR, length and name of the next part
_END = b"\0\0\0\0IEND\xaeB`\x82"
_MODES = {0: "L", 2: "RGB"}
_MOST_PIXELS = 1 << 16  # larger ones gain nothing, and need the checks of sizes in images.py
_MOST_BYTES = 1 << 16  # what Pillow takes at a time


class PlainPng(NamedTuple):
    """A PNG of which the header is right and its compressed pixels end where the file does."""

    mode: str
    size: tuple[int, int]
    compressed: bytes

    def pixels(self) -> NDArray[np.uint8] | None:
        """Returns the image as RGB (height, width, 3), None where it is damaged."""
        width, height = self.size
        bands = len(self.mode)
        try:
            core: Any = vars(Image)["core"]
            image = core.new(self.mode, self.size)
            decoder = core.zip_decoder(self.mode, self.mode)
            decoder.setimage(image, (0, 0, width, height))
            if decoder.decode(self.compressed) != (-1, 0):
                return None
            encoder = core.raw_encoder(self.mode, self.mode)
            encoder.setimage(image, (0, 0, width, height))
            data = encoder.encode(width * height * bands)[2]
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, bands)
        except Exception:  # whatever it is, the ordinary way says it
            return None
        return np.repeat(pixels, 3, axis=2) if bands == 1 else pixels.copy()


def plain_png(data: bytes) -> PlainPng | None:
    """Returns the parts of such a PNG, None for any other file; nothing is decoded.

    The file is one IHDR, one IDAT and the IEND (W3C, "Portable Network Graphics", 2003): 8 bits, not
    interlaced, no palette, transparency, turn or text, at most 65,536 pixels and bytes.
    """
    if not _HEADER.size < len(data) <= _MOST_BYTES or not data.endswith(_END):
        return None
    signature, *fields = _HEADER.unpack_from(data)
    length, kind, width, height, depth, color, compression, filters, interlaced, crc, idat, name = fields
    is_plain = (
        (signature, length, kind, name) == (_SIGNATURE, 13, b"IHDR", b"IDAT")
        and (depth, compression, filters, interlaced) == (8, 0, 0, 0)
        and color in _MODES
        and 0 < width * height <= _MOST_PIXELS
        and crc == zlib.crc32(data[12:29])
        and _HEADER.size + idat + 4 + len(_END) == len(data)
    )
    if not is_plain:
        return None
    return PlainPng(_MODES[color], (width, height), data[_HEADER.size : _HEADER.size + idat])
