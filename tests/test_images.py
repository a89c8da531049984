"""decode_image: every kind of file gives the same upright RGB square, or one line that says why not."""

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pictorch import images
from pictorch.errors import CheckpointError, DataError
from pictorch.images import (
    MAX_PIXELS,
    PAD_GREY,
    Fit,
    InputSpec,
    decode,
    decode_image,
    fit_pixels,
    shown,
    side_in_header,
)
from pictorch.plain_png import PlainPng, plain_png

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(image: Image.Image | Pixels, format_name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()


def refusal(data: bytes, name: str = "cat.png") -> str:
    with pytest.raises(DataError) as caught:
        decode_image(data, 8, name)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    return message


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_a_square_of_the_stored_size_is_cut_exactly(height: int, width: int, seed: int) -> None:
    pixels = noise(height, width, seed)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = decode_image(file_of(pixels), side)
    assert np.array_equal(cut, pixels[top : top + side, left : left + side])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24))
@settings(max_examples=50)
def test_any_size_fits_and_arrays_fit_like_files(height: int, width: int, stored_size: int) -> None:
    pixels = noise(height, width)
    fitted = decode_image(file_of(pixels), stored_size)
    assert fitted.shape == (stored_size, stored_size, 3)
    assert fitted.dtype == np.uint8
    assert fitted.flags.writeable
    assert np.array_equal(fit_pixels(pixels, stored_size).pixels, fitted)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = decode_image(file_of(stripes), 16)[2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127.5).max() < 8


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(format_name: str) -> None:
    pixels = noise(8, 8)
    options = {"lossless": True} if format_name == "WEBP" else {}
    assert np.array_equal(decode_image(file_of(pixels, format_name, **options), 8), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_gives_the_same_upright_pixels(orientation: int, format_name: str) -> None:
    upright = np.repeat(np.repeat(noise(3, 5), 16, axis=0), 16, axis=1)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"exif": exif}
    if format_name == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    if format_name == "WEBP":
        options |= {"lossless": True}
    data = file_of(np.ascontiguousarray(turned), format_name, **options)
    got = decode(data, 48)
    assert (got.width, got.height) == (80, 48)
    assert np.abs(got.pixels.astype(int) - upright[:, 16:64]).max() <= (8 if format_name == "JPEG" else 0)
    assert side_in_header(data) == 48


def test_broken_exif_is_ignored() -> None:
    pixels = noise(8, 8)
    data = file_of(pixels, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert np.array_equal(decode_image(data, 8), pixels)


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_has_the_right_colours(cmyk: tuple[int, ...], rgb: tuple[int, ...], format_name: str) -> None:
    data = file_of(Image.new("CMYK", (16, 16), cmyk), format_name)
    assert np.abs(decode_image(data, 16).astype(int) - rgb).max() <= 3


def test_ycck_is_read_as_the_cmyk_it_stands_for() -> None:
    """Adobe's transform 2: the first three channels are Y, Cb, Cr of the inks, all four inverted."""
    inks = np.array([35, 195, 225])
    y = inks @ [0.299, 0.587, 0.114]
    ycc = [y, 128 + 0.564 * (inks[2] - y), 128 + 0.713 * (inks[0] - y)]
    inverted = tuple(round(255 - value) for value in ycc)  # Pillow inverts on writing, too
    data = bytearray(file_of(Image.new("CMYK", (16, 16), (*inverted, 0)), "JPEG", quality=100))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    assert np.abs(decode_image(bytes(data), 16).astype(int) - (255 - inks)).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("alpha", "grey"), [(0, 255), (255, 100), (51, 224)])
def test_transparency_lies_on_white(mode: str, alpha: int, grey: int) -> None:
    colour = (100, 100, 100, alpha) if mode == "RGBA" else (100, alpha)
    got = decode_image(file_of(Image.new(mode, (4, 4), colour)), 4)
    assert np.abs(got.astype(int) - grey).max() <= 1


def test_palettes_with_and_without_transparency() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    opaque = decode_image(file_of(image), 2)
    assert opaque.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]]
    for transparency in (1, b"\xff\x00\xff"):
        seen = decode_image(file_of(image, "PNG", transparency=transparency), 2)
        assert seen.tolist() == [[[255, 0, 0], [255, 255, 255]], [[0, 0, 255], [255, 255, 255]]]


def test_one_colour_marked_transparent_lies_on_white() -> None:
    pixels = np.full((4, 4, 3), 7, dtype=np.uint8)
    pixels[0, 0] = 200
    seen = decode_image(file_of(pixels, "PNG", transparency=(7, 7, 7)), 4)
    assert seen[0, 0].tolist() == [200] * 3
    assert (seen.reshape(-1, 3)[1:] == 255).all()


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_ramp_keeps_all_levels(format_name: str) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = decode_image(file_of(Image.fromarray(ramp), format_name), 256)
    assert np.array_equal(got, np.repeat((ramp >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_big_endian_sixteen_bit_and_32_bit_containers() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = (ramp >> 8).astype(np.uint8)
    big = Image.frombytes("I;16B", (256, 256), ramp.astype(">u2").tobytes())
    wide = Image.fromarray(ramp.astype(np.int32))
    for image in (big, wide):
        assert np.array_equal(decode_image(file_of(image, "TIFF"), 256)[..., 1], expected)


def test_one_bit_and_grey() -> None:
    bits = Image.fromarray(np.eye(8, dtype=bool))
    assert np.array_equal(decode_image(file_of(bits), 8)[..., 0], np.eye(8, dtype=np.uint8) * 255)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(decode_image(file_of(Image.fromarray(grey)), 8)[..., 2], grey)


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_several(format_name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format_name == "WEBP" else {}
    many = decode(file_of(frames[0], format_name, save_all=True, append_images=frames[1:], **options), 8)
    assert many.several_frames
    assert (many.pixels == (255, 0, 0)).all()
    assert not decode(file_of(frames[0], format_name), 8).several_frames


def png_header_only(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(65535, 65535), (MAX_PIXELS + 1, 1), (MAX_PIXELS // 2 + 1, 2)])
@pytest.mark.parametrize("pillow_limit", [None, Image.MAX_IMAGE_PIXELS])
def test_too_many_pixels_are_refused_from_the_header(
    size: tuple[int, int], pillow_limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    assert "more than 178,956,970 pixels" in refusal(png_header_only(*size))


def test_a_large_but_allowed_header_gives_no_warning() -> None:
    data = png_header_only(10_000, 10_000)
    with pytest.raises(Warning, match="DOS attack"):
        Image.open(io.BytesIO(data))
    assert side_in_header(data) == 10_000
    assert "truncated" in refusal(data)


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1)])
def test_extreme_shapes_need_no_memory(size: tuple[int, int]) -> None:
    got = decode_image(file_of(Image.new("RGB", size, "red")), 256)
    assert got.shape == (256, 256, 3)
    assert (got == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"hello, I am a text file, honestly\n", "it starts like text"),
        (b"<!DOCTYPE html><html>not found</html>", "an HTML page"),
        (b"%PDF-1.7 \x00\x01", "a PDF"),
        (b"\x00\x00\x00\x20ftypavif" + b"\0" * 40, "an AVIF, HEIC or MP4 file"),
        (b"\x01\x02\x03\x04\x05", "01 02 03 04"),
        (b"\x89PNG\r\n\x1a\n", "damaged or truncated PNG of 8 bytes"),
        (b"\xff\xd8\xff\xe0", "damaged or truncated JPEG of 4 bytes"),
    ],
)
def test_what_is_no_image_is_told(data: bytes, says: str) -> None:
    assert says in refusal(data)


@pytest.mark.parametrize("format_name", ["ICO", "PCX", "TGA", "EPS", "JPEG2000"])
def test_formats_off_the_list_are_not_parsed(format_name: str) -> None:
    assert "use one of JPEG, PNG" in refusal(file_of(Image.new("RGB", (16, 16)), format_name))


def test_float_and_wide_integer_pixels_are_refused() -> None:
    floats = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    assert "32-bit float" in refusal(file_of(floats, "TIFF"))
    wide = Image.fromarray(np.full((8, 8), 70_000, dtype=np.int32))
    assert "beyond 16 bits" in refusal(file_of(wide, "TIFF"))


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated_anywhere_is_refused_or_harmless(format_name: str) -> None:
    """What is missing at the very end may hold no pixel; but no other picture may ever come out."""
    data = file_of(noise(16, 16), format_name)
    whole = decode_image(data, 16)
    messages = []
    for length in range(0, len(data), max(1, len(data) // 120)):
        try:
            assert np.array_equal(decode_image(data[:length], 16, "x"), whole)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 90
    assert not any("\n" in message for message in messages)


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["", "PNG", "JPEG", "GIF", "TIFF", "WEBP"]))
@settings(max_examples=150)
def test_nothing_but_data_errors_comes_out(garbage: bytes, format_name: str) -> None:
    data = file_of(noise(6, 6), format_name) if format_name else b""
    place = len(data) // 2
    with suppress(DataError):
        got = decode_image(data[:place] + garbage + data[place + len(garbage) :], 4)
        assert got.shape == (4, 4, 3)


def in_the_ordinary_way(data: bytes) -> Pixels | str:
    """Returns the pixels, or the error, of an image file that Pillow opens itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "plain_png", lambda data: None)
        return pixels_or_error(data)


def pixels_or_error(data: bytes) -> Pixels | str:
    try:
        return decode(data, 8).pixels
    except DataError as error:
        return str(error)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["L", "RGB"]), st.integers(0, 9))
@settings(max_examples=60)
def test_a_plain_png_has_the_pixels_that_pillow_reads(height: int, width: int, mode: str, level: int) -> None:
    data = file_of(Image.fromarray(noise(height, width)).convert(mode), compress_level=level)
    plain = plain_png(data)
    assert plain is not None
    assert (plain.size, plain.mode) == ((width, height), mode)
    assert plain.pixels() is not None
    assert np.array_equal(decode(data, 8).pixels, in_the_ordinary_way(data))


@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
@settings(max_examples=200)
def test_a_changed_png_gives_what_pillow_gives(place: int, byte: int, is_cut: bool) -> None:
    """Whatever stands in the file: the same pixels or the same words."""
    data = file_of(noise(8, 8))
    place %= len(data)
    changed = data[:place] + data[place + 1 :] if is_cut else data[:place] + bytes([byte]) + data[place + 1 :]
    assert np.array_equal(pixels_or_error(changed), in_the_ordinary_way(changed))


@pytest.mark.parametrize(
    "data",
    [
        file_of(noise(257, 256)),
        file_of(noise(200, 200)),
        file_of(noise(8, 8), transparency=(1, 2, 3)),
        file_of(noise(8, 8), pnginfo=PngImagePlugin.PngInfo(), dpi=(72, 72)),
        file_of(Image.new("RGBA", (8, 8))),
        file_of(Image.new("P", (8, 8))),
        file_of(Image.new("1", (8, 8))),
        file_of(Image.new("I;16", (8, 8))),
        file_of(noise(8, 8), exif=b"Exif\0\0II*\0"),
    ],
    ids=["pixels", "bytes", "colour", "text", "alpha", "palette", "bits", "deep", "exif"],
)
def test_a_png_with_more_in_it_is_left_to_pillow(data: bytes) -> None:
    assert plain_png(data) is None


def test_the_size_of_a_plain_png_is_checked_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(width: int, height: int) -> None:
        raise DataError(f"{width} x {height}")

    monkeypatch.setattr(PlainPng, "pixels", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"^9 x 7$"):
        decode(file_of(noise(7, 9)), 8, check=refuse)


def test_names_are_shown_in_one_line() -> None:
    assert refusal(b"", "katze.png")
    with pytest.raises(DataError, match=r"^a\\nb\\udcff\.png: "):
        decode_image(b"", 8, "a\nb\udcff.png")
    assert shown("grüße 猫.png") == "grüße 猫.png"


def test_warning_filters_are_as_before_when_threads_decode_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each thread is kept inside until the others are, and they leave in the order of their coming."""
    data = file_of(noise(8, 8), "BMP")
    before = list(warnings.filters)
    inside = [threading.Event() for _ in range(3)]
    outside = [threading.Event() for _ in range(3)]
    place = threading.local()
    real_open = Image.open

    def slow_open(*arguments: Any, **options: Any) -> Image.Image:
        inside[place.number].set()
        assert inside[-1].wait(5)
        assert place.number == 0 or outside[place.number - 1].wait(5)
        return real_open(*arguments, **options)

    def work(number: int) -> None:
        place.number = number
        assert number == 0 or inside[number - 1].wait(5)
        decode_image(data, 8)
        outside[number].set()

    monkeypatch.setattr(Image, "open", slow_open)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert list(warnings.filters) == before


def test_input_spec_round_trip_and_foreign_treatment() -> None:
    spec = InputSpec(stored_size=32, image_size=64)
    record = spec.to_json()
    assert InputSpec.from_json(record) == spec
    assert (record["dtype"], record["layout"], record["color"]) == ("uint8", "NHWC", "RGB")
    assert (record["fit"], record["alpha"], record["resampling"]) == ("centre-crop", "white", "bicubic")
    for key, value in {"resampling": "nearest", "fit": "tile"}.items():
        with pytest.raises(CheckpointError, match=f"{key} is '{value}', which this pictorch does not know"):
            InputSpec.from_json({**record, key: value})


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_each_fit_has_its_own_description(fit: Fit) -> None:
    spec = InputSpec(stored_size=32, image_size=64, fit=fit)
    assert InputSpec.from_json(spec.to_json()) == spec
    assert (spec.to_json()["fit"] == "centre-crop") == (fit == "crop")


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20))
def test_pad_shows_the_whole_image_between_bars_of_grey(height: int, width: int, side: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    fitted = decode_image(file_of(white), side, fit="pad")
    rows, columns = np.unique(np.nonzero((fitted == 255).all(2))[0]), np.unique(np.nonzero(fitted == 255)[1])
    assert max(len(rows), len(columns)) == side
    scale = side / max(height, width)
    assert abs(len(rows) - height * scale) <= 0.5 or len(rows) == 1
    assert abs(len(columns) - width * scale) <= 0.5 or len(columns) == 1
    outside = fitted[(fitted != 255).any(2)]
    assert (outside == PAD_GREY).all()
    top, left = rows[0], columns[0]
    assert abs((side - len(rows)) / 2 - top) <= 0.5
    assert abs((side - len(columns)) / 2 - left) <= 0.5


def test_pad_keeps_the_pixels_where_the_longer_side_is_the_stored_size() -> None:
    pixels = noise(6, 10)
    fitted = decode_image(file_of(pixels), 10, fit="pad")
    assert np.array_equal(fitted[2:8], pixels)
    assert (fitted[:2] == PAD_GREY).all()
    assert (fitted[8:] == PAD_GREY).all()


def test_stretch_shows_the_whole_image_and_nothing_else() -> None:
    wide = np.repeat(np.repeat(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 4, 0), 8, 1)  # 4 x 16
    fitted = decode_image(file_of(wide), 8, fit="stretch")
    assert fitted.shape == (8, 8, 3)
    assert (fitted[:, 0] == [255, 0, 0]).all()
    assert (fitted[:, -1] == [0, 0, 255]).all()
    assert not np.array_equal(fitted, decode_image(file_of(wide), 8, fit="crop"))


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_square_image_is_the_same_under_every_fit(size: int, side: int) -> None:
    data = file_of(noise(size, size))
    crop, pad, stretch = (decode_image(data, side, fit=fit) for fit in ("crop", "pad", "stretch"))
    assert np.array_equal(crop, pad)
    assert np.array_equal(crop, stretch)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_side_of_a_fit_is_that_of_the_square_that_needs_no_resampling(fit: Fit) -> None:
    data = file_of(noise(6, 10))
    side = 6 if fit == "crop" else 10
    assert side_in_header(data, fit=fit) == decode(data, 3, fit=fit).side(fit) == side
    assert np.array_equal(fit_pixels(noise(6, 10), 4, fit).pixels, decode_image(data, 4, fit=fit))
