"""Files of predictions: names, shards, and what stands there already."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pictorch
from made_data import noise, write_image
from messages import material
from messages.case import Case, again, instead, typed
from messages.faults import full_disk, locked, patched
from pictorch.predictor import prediction_file, predictor
from pictorch.predictor.image_inputs import Given

ONE = "predict bundle image.png --out all.csv"


def with_image() -> None:
    """Makes a bundle and an image beside it."""
    material.bundle()
    write_image(Path("image.png"), noise(8, 8))


def begun(name: str = "image.png") -> None:
    """Leaves a file that was begun with the answer to `name`."""
    with_image()
    write_image(Path(name), noise(8, 8))
    pictorch.predict("bundle", [name], out="all.csv")
    record = Path("all.csv.json").read_text()
    row = Path("row.jsonl")
    pictorch.predict("bundle", [name], out=row)
    Path("all.csv").unlink()
    row.rename("all.csv.unfinished")
    Path("row.jsonl.json").unlink()
    Path("all.csv.json").write_text(record.replace(name, "image.png"))


def many_names() -> None:
    """Makes a list of the one image in many lines."""
    with_image()
    Path("names.txt").write_text("image.png\n" * 2000)


def interrupted(paths: Iterable[str]) -> Iterator[Given]:
    """Ctrl-C, as soon as images are asked for."""
    raise KeyboardInterrupt


# fmt: off
CASES = [
    Case("file of no kind", "predict bundle image.png --out all.xls", 2, "all.xls", typed(), with_image),
    Case("shard of no number", f"{ONE} --shard 3", 2, "--shard 3", instead(f"{ONE} --shard 1/1", says="as 3/16"), with_image),
    Case("shard beyond the last", "predict bundle image.png --shard 17/16", 2, "--shard 17/16", instead("predict bundle image.png --shard 1/16", says="3/16"), with_image),
    Case("shard without images", f"{ONE} --shard 2/2", 3, "shard 2/2", instead(ONE, says="ask for fewer shards"), with_image),
    Case("file of somebody else", ONE, 2, "--out all.csv", again(lambda: Path("all.csv").unlink()), lambda: (with_image(), Path("all.csv").touch())),
    Case("file begun otherwise", f"{ONE} --top 1", 2, "another top (5)", instead(ONE, says="give the same"), begun),
    Case("file begun with other images", ONE, 3, "(then other.png)", again(lambda: (Path("all.csv.unfinished").unlink(), Path("all.csv.json").unlink())), lambda: begun("other.png")),
    Case("file with two writers", ONE, 7, "another process writes all.csv", again(lambda: None), begun, locked("all.csv.unfinished")),
    Case("parquet without its package", "predict bundle image.png --out all.parquet", 9, "pyarrow", again(lambda: None), with_image, patched(prediction_file, "find_spec", lambda name: None)),
    Case("file and a form of rows", f"{ONE} --csv", 2, "all.csv", instead(ONE, says="leave out"), with_image, only="cli: Python gets objects"),
    Case("file of images in memory", "predict bundle image.png", 2, "predict(out=...)", lambda case, message: print(pictorch.predict("bundle", ["image.png"], out="all.csv")), with_image, only="python: the command line gives paths", call=lambda: pictorch.predict("bundle", [noise(8, 8)], out="all.csv")),
    Case("shard without images and no file", "predict bundle image.png --shard 2/2", 3, "shard 2/2", instead("predict bundle image.png", says="ask for fewer shards"), with_image),
    Case("source that is not there", "predict bundle fotos --out all.csv", 3, "fotos is not there", instead("predict bundle image.png --out all.csv", says="check the path"), with_image),
    Case("folder of no image for a file", "predict bundle empty --out all.csv", 3, "empty holds no image", again(lambda: write_image(Path("empty/a.png"), noise(8, 8))), lambda: (with_image(), Path("empty").mkdir())),
    Case("file that is interrupted", ONE, 130, "beside all.csv", again(lambda: None), with_image, patched(predictor, "given_files", interrupted), only="cli: Python raises KeyboardInterrupt"),
    Case("disk that is full of rows", "predict bundle names.txt --out all.csv", 5, "no space left", again(lambda: None), many_names, full_disk(20_000), makes=("all.csv.json", "all.csv.unfinished")),
    Case("list of nothing", "predict bundle list.txt", 3, "list.txt names no image", again(lambda: Path("list.txt").write_text("image.png\n")), lambda: (with_image(), Path("list.txt").touch())),
]
# fmt: on
