"""Images that cannot be used: paths, layouts, files, zips, and divisions that no image is left for."""

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from made_data import noise, write_image, zip_folder
from messages.case import Case, Remedy, Setup, again, instead, meant, told, typed
from messages.faults import Fault, environment, not_installed, ordinary_rights, patched
from messages.material import bundle, photos, recipe
from pictorch import images
from pictorch.datasets import image_folder

TRAIN = "train small.yaml -q --out out"
BROKEN = Path("photos/red/000.png")


def broken(name: str, names: str, make: Setup, remedy: Remedy, exit_code: int = 3) -> Case:
    """A case of the image folder `photos`, which `make` spoils."""
    return Case(name, TRAIN, exit_code, names, remedy, lambda: (recipe(), make()))


def rebuilt() -> None:
    shutil.rmtree("photos")
    photos()


def one_class() -> None:
    shutil.rmtree("photos/red")
    shutil.rmtree("photos/blue")


def wrapped_classes() -> None:
    photos("photos/all")
    for name in ("red", "green", "blue"):
        shutil.rmtree(Path("photos", name))


def loose_images() -> None:
    for path in list(Path("photos").rglob("*.png")):
        path.rename(Path("photos", f"{path.parent.name}{path.name}"))
    for name in ("red", "green", "blue"):
        Path("photos", name).rmdir()


def parts(*names: str) -> None:
    """Moves the classes into the first of these folders and copies that to the others."""
    shutil.move("photos", "moved")
    Path("photos").mkdir()
    for name in names:
        shutil.copytree("moved", Path("photos", name))
    shutil.rmtree("moved")


def strange_class() -> None:
    parts("train", "test")
    os.rename("photos/test/red", "photos/test/rad")


def not_utf8() -> None:
    os.rename(b"photos/red", b"photos/r\xff")


def single_images() -> None:
    for path in Path("photos").rglob("*.png"):
        if path.name != "000.png":
            path.unlink()


def spoiled(data: bytes) -> Setup:
    return lambda: BROKEN.write_bytes(data)


def cut() -> None:
    whole = write_image(BROKEN, noise(64, 64)).read_bytes()
    BROKEN.write_bytes(whole[:-500])


def archive(change: Callable[[bytes], bytes] = lambda data: data) -> Callable[[], None]:
    """Puts the images into photos.zip, where the recipe looks for them, and changes its bytes."""

    def make() -> None:
        zip_folder(Path("photos"), Path("photos.zip"))
        Path("photos.zip").write_bytes(change(Path("photos.zip").read_bytes()))

    return make


def encrypted(data: bytes) -> bytes:
    """Sets the flag of encryption on the first file of the list at the end."""
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        start = zipped.start_dir
        while (
            data[start + 46 : start + 46 + struct.unpack("<H", data[start + 28 : start + 30])[0]][-1:] == b"/"
        ):
            name, extra, comment = struct.unpack("<3H", data[start + 28 : start + 34])
            start += 46 + name + extra + comment
    return data[: start + 8] + b"\1\0" + data[start + 10 :]


def other_bytes(data: bytes) -> bytes:
    place = data.index(b"\x89PNG") + 30
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def zipped(name: str, names: str, change: Callable[[bytes], bytes], fault: Fault | None = None) -> Case:
    """A case of a zip of images; the whole zip takes its place."""
    return Case(
        name, f"{TRAIN} --data photos.zip", 3, names, again(archive()), lambda: (recipe(), archive(change)()),
        **({"fault": fault} if fault else {}),
    )  # fmt: skip


def predicted(name: str, names: str, data: bytes | None, fault: Fault | None = None) -> Case:
    """A case of one image file that nothing can be said about; a good one takes its place."""

    def setup() -> None:
        bundle()
        if data is not None:
            Path("image.png").write_bytes(data)

    mend = again(lambda: write_image(Path("image.png"), noise(8, 8)))
    return Case(
        name, "predict bundle image.png", 3, names, mend, setup, **({"fault": fault} if fault else {})
    )


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PNG = encoded(Image.fromarray(noise(8, 8)).convert("P"), "PNG")  # no plain one, whose size is never large
FLOAT = encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")
DEEP = encoded(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF")


def out_of_memory(*unused: object, **also_unused: object) -> None:
    raise MemoryError


# fmt: off
CASES = [
    Case("pictures among the images", "data show photos --out photos/shown", 2, "photos/shown", instead("data show photos --out shown", says="choose another with `--out DIR`"), photos),
    Case("path that is not there", f"{TRAIN} --data pictures/all", 3, "pictures/all", instead(f"{TRAIN} --data photos", says="give a path that does"), recipe),
    Case("nearly the name of a source", "train small.yaml -q --out out --set train.batch_size=500 --data digit", 3, "'digit'", meant, recipe),
    Case("pipe in place of images", f"{TRAIN} --data pipe", 3, "pipe", instead(f"{TRAIN} --data photos", says="neither a folder nor a regular file"), lambda: (recipe(), os.mkfifo("pipe"))),
    Case("text in place of an archive", f"{TRAIN} --data note.md", 3, "note.md", instead(f"{TRAIN} --data photos", says="give a folder or a zip"), lambda: (recipe(), Path("note.md").write_text("hello"))),
    Case("archive without rights", f"{TRAIN} --data photos.bin", 3, "photos.bin cannot be read", typed(), lambda: (recipe(), archive()(), os.rename("photos.zip", "photos.bin"), os.chmod("photos.bin", 0)), ordinary_rights),
    Case("data folder that is not there", "train small.yaml -q --out out --data cifar10", 3, "PICTORCH_DATA=nowhere", instead(TRAIN, says="unset it with `unset PICTORCH_DATA`"), recipe, environment(PICTORCH_DATA="nowhere")),
    Case("folder without rights", TRAIN, 3, "photos/red cannot be read", typed(), lambda: (recipe(), os.chmod("photos/red", 0)), ordinary_rights),
    broken("empty folder", "photos has no images", lambda: (shutil.rmtree("photos"), Path("photos").mkdir()), again(rebuilt)),
    broken("images outside of classes", "photos has no images in class folders, but 18", loose_images, again(rebuilt)),
    broken("empty class", "hollow", lambda: Path("photos/hollow").mkdir(), again(lambda: Path("photos/hollow").rmdir())),
    broken("one class", "green", one_class, again(rebuilt)),
    broken("one class that wraps the classes", "photos/all", wrapped_classes, instead(f"{TRAIN} --data photos/all", says="/photos/all if its folders are the classes")),
    broken("two folders for one part", "val, valid", lambda: parts("train", "val", "valid"), again(lambda: shutil.rmtree("photos/valid"))),
    broken("test without train", "test/", lambda: parts("test", "val"), again(rebuilt)),
    broken("class in test only", "rad", strange_class, again(lambda: os.rename("photos/test/rad", "photos/test/red"))),
    broken("class name that is no text", "r\\udcff", not_utf8, again(lambda: os.rename(b"photos/r\xff", b"photos/red"))),
    broken("classes of one image", "data.test_fraction", single_images, instead(f"{TRAIN} --set data.test_fraction=0 --set data.val_fraction=0", says="--set data.test_fraction=0")),
    broken("images of two sizes", "red/000.png", lambda: write_image(BROKEN, noise(9, 9)), typed()),
    broken("empty image", "red/000.png: the file is empty", spoiled(b""), again(BROKEN.unlink)),
    Case("image without rights", TRAIN, 3, "red/000.png: cannot be read", typed(), lambda: (recipe(), os.chmod(BROKEN, 0)), ordinary_rights),
    Case("huge image file", TRAIN, 3, "red/000.png", again(BROKEN.unlink), lambda: (recipe(), os.truncate(BROKEN, 9000)), patched(image_folder, "_LARGEST_FILE_BYTES", 5000)),
    zipped("zip that is cut off", "photos.zip: damaged", lambda data: data[:-400]),
    zipped("encrypted zip", "photos.zip: encrypted", encrypted),
    zipped("zip with a flipped bit", ".png", other_bytes),
    zipped("huge image in a zip", ".png", lambda data: data, patched(image_folder, "_LARGEST_FILE_BYTES", 50)),
    Case("cache that cannot be written", TRAIN, 5, "blocked", instead(TRAIN, says="let XDG_CACHE_HOME name another folder"), lambda: (recipe(), Path("blocked").write_text("")), environment(XDG_CACHE_HOME="blocked")),
    Case("scikit-learn is not installed", "train digits -q --out out --epochs 1", 9, "scikit-learn", told("installs a package", says="`pip install 'pictorch[train]'`"), fault=not_installed("sklearn.datasets", "sklearn")),
    predicted("image that is not there", "image.png cannot be read", None),
    predicted("image of nothing", "image.png: the file is empty", b""),
    predicted("image of text", "image.png: not an image (it starts like text)", b"hello, I am no image"),
    predicted("image that is a web page", "an HTML page", b"<!doctype html><p>not found"),
    predicted("image from a telephone", "AVIF, HEIC or MP4", b"\0\0\0\x18ftypheic" + b"\0" * 40),
    predicted("image of unknown bytes", "de ad be ef", bytes.fromhex("deadbeef00")),
    predicted("image that is cut off", "image.png: damaged or truncated", encoded(Image.fromarray(noise(64, 64)), "PNG")[:-500]),
    predicted("image of float pixels", "32-bit float", FLOAT),
    predicted("image of deep pixels", "beyond 16 bits", DEEP),
    predicted("image with too many pixels", "more than 50 pixels", PNG, patched(images, "MAX_PIXELS", 50)),
    predicted("image that Pillow calls a bomb", "more than 178,956,970 pixels", PNG, patched(Image, "MAX_IMAGE_PIXELS", 20)),
    predicted("image too large for the memory", "not enough memory", PNG, patched(images, "_upright", out_of_memory)),
]
# fmt: on

# What only `data check` says: name, what it names, how to spoil the photographs, how to mend them.
# fmt: off
FINDINGS: list[tuple[str, str, Setup, Setup]] = [
    ("broken image", "red/000.png", lambda: (photos(), BROKEN.write_bytes(b"")), lambda: BROKEN.unlink()),
    ("class of one image", "single", lambda: (photos(), write_image(Path("photos/single/0.png"), noise(8, 8, 9))), lambda: shutil.rmtree("photos/single")),
    ("test images in train", "in test are in train too", lambda: (photos(), parts("train", "test")), lambda: [path.unlink() for path in Path("photos/train").rglob("*.png") if path.name > "002"] + [path.unlink() for path in Path("photos/test").rglob("*.png") if path.name <= "002"]),
]
# fmt: on
