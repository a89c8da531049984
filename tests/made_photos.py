"""Photographs as people have them: crops of three real ones, of many sizes, shapes and file formats.

The photographs come with scikit-learn (a temple, a flower) and matplotlib (a portrait). Training crops
are cut from the left of each and test crops from the right, so that no pixel is in both.
"""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

CLASSES = ("flower", "portrait", "寺庙")
_BORDER = 0.6  # what lies left of it, as a share of the width, is for training


def originals() -> dict[str, Image.Image]:
    """Returns the three photographs by class."""
    temple, flower = load_sample_images().images
    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(portrait) as image:
        return {
            "flower": Image.fromarray(flower),
            "portrait": image.convert("RGB"),
            "寺庙": Image.fromarray(temple),
        }


def squares(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Returns square crops of the photographs as uint8 (count, side, side, 3), of many scales."""
    random, photographs = np.random.default_rng(seed), list(originals().values())
    crops = []
    for number in range(count):
        crop = _crop(photographs[number % len(photographs)], random)
        crops.append(np.asarray(ImageOps.fit(crop, (side, side))))
    return np.stack(crops)


def write_photos(root: Path, *, train: int = 40, test: int = 15, seed: int = 0) -> Path:
    """Writes <root>/train and <root>/test with so many images of each class."""
    random = np.random.default_rng(seed)
    for name, original in originals().items():
        border = round(_BORDER * original.width)
        for part, count, left, right in (("train", train, 0, border), ("test", test, border, original.width)):
            region = original.crop((left, 0, right, original.height))
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                _save(_crop(region, random), folder, number)
    return root


def _crop(region: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns a part of half the region's shorter side or more, scaled to 40 to 400 pixels."""
    short = min(region.size)
    width, height = (int(random.integers(short // 2, side + 1)) for side in region.size)
    left, top = (
        int(random.integers(region.width - width + 1)),
        int(random.integers(region.height - height + 1)),
    )
    factor = int(random.integers(40, 400)) / min(width, height)
    crop = region.crop((left, top, left + width, top + height))
    return crop.resize((max(1, round(width * factor)), max(1, round(height * factor))))


def _save(image: Image.Image, folder: Path, number: int) -> None:
    """Saves the image in one of nine ways, by its number."""
    way = number % 9
    if way == 0:  # as a phone does that was held sideways
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(folder / f"IMG {number}.JPG", exif=exif, quality=90)
    elif way == 1:
        image.quantize(64).save(folder / f"照片 {number}.png")
    elif way == 2:
        alpha = Image.new("L", image.size, 255)
        alpha.paste(0, (0, 0, image.width // 8, image.height // 8))
        image.putalpha(alpha)
        image.save(folder / f"cut out {number}.png")
    elif way == 3:
        image.save(folder / f"{number}.webp", quality=80)
    elif way == 4:
        image.save(folder / f"{number}.BMP")
    elif way == 5:
        image.quantize(128).save(folder / f"{number}.gif")
    elif way == 6:
        image.save(folder / f"scan {number}.tiff")
    elif way == 7:
        image.convert("CMYK").save(folder / f"print {number}.jpg", quality=90)
    else:
        ImageOps.grayscale(image).save(folder / f"old {number}.jpeg", quality=85)
