"""Lists of images that are wrong: in a line, as a whole, or in what data.on_bad leaves."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from messages.case import Case, Remedy, again, instead, typed
from messages.faults import Fault, ordinary_rights
from messages.material import photos, recipe

TRAIN = "train small.yaml -q --out out"
WITH_LIST = f"{TRAIN} --data list.csv"
SKIP = "--set data.on_bad=skip"
HEAD = "path,label,split,group\n"


def rows() -> list[str]:
    return [
        f"{path},{path.parent.name},train,{path.stem}\n" for path in sorted(Path("photos").rglob("*.png"))
    ]


def good() -> None:
    Path("list.csv").write_text(HEAD + "".join(rows()))


def wrong(
    name: str,
    names: str,
    spoil: Callable[[list[str]], str | bytes],
    argv: str = WITH_LIST,
    fault: Fault | None = None,
    remedy: Remedy | None = None,
) -> Case:
    """A case of list.csv, whose whole text `spoil` gives; the sound list mends it."""

    def setup() -> None:
        recipe()
        text = spoil(rows())
        Path("list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    return Case(
        name, argv, 3, names, remedy or again(good), setup, **({"fault": fault} if fault else {})
    )  # fmt: skip


def changed(old: str, new: str) -> Callable[[list[str]], str]:
    """The sound list with another third line, that of photos/blue/001.png."""
    return lambda lines: HEAD + "".join([lines[0], lines[1].replace(old, new), *lines[2:]])


def added(line: str) -> Callable[[list[str]], str]:
    return lambda lines: HEAD + "".join(lines) + f"{line}\n"


def beside() -> None:
    """A list in another folder than the images."""
    recipe()
    good()
    Path("lists").mkdir()
    Path("list.csv").rename("lists/list.csv")


def spoiled_class(lines: list[str]) -> str:
    for path in Path("photos/red").iterdir():
        path.write_bytes(b"")
    return HEAD + "".join(lines)


def some_broken(lines: list[str]) -> str:
    for name in ("002", "003", "004", "005"):
        Path(f"photos/red/{name}.png").write_bytes(b"")
    return HEAD + "".join(lines)


def restored() -> None:
    shutil.rmtree("photos")
    photos()


def cut_and_locked(lines: list[str]) -> str:
    Path("photos/red/000.png").write_bytes(b"")
    os.chmod("photos/red/001.png", 0)
    return HEAD + "".join(lines)


def locked(lines: list[str]) -> str:
    Path("list.csv").touch(mode=0)
    return HEAD + "".join(lines)


# fmt: off
CASES = [
    wrong("list with a missing path", "line 3 (photos/blue/9.png,blue,train,001): no such file", changed("001.png", "9.png")),
    Case("list apart from its images", f"{TRAIN} --data lists/list.csv", 3, "line 2 (photos/blue/000.png", instead(f"{TRAIN} --data lists/list.csv --set data.root=.", says="set data.root to the folder that paths start from"), beside),
    wrong("list with a path out of its folder", "line 20 (../photos/a.png,red,train,): leaves the folder", added("../photos/a.png,red,train,")),
    wrong("list with a folder", "line 20 (photos/red,red,train,): is no regular file", added("photos/red,red,train,")),
    wrong("list without a label", "line 3 (photos/blue/001.png,,train,001): no label", changed(",blue", ",")),
    wrong("list without a path", "line 20 (,red,train,): no path", added(",red,train,")),
    wrong("list with an image twice", "the image of line 2 again", added("photos/blue/000.png,blue,train,")),
    wrong("list with an image of two classes", "line 2 (photos/blue/000.png,blue,train,000): is blue here and red on line 20", added("photos/blue/000.png,red,train,")),
    wrong("list with an unknown split", "unknown split 'tset' (did you mean test?)", changed("train", "tset")),
    wrong("list with a column too many", "5 columns, the header has 4", changed(",blue", ",light,blue")),
    wrong("list with mixed separators", "line 18 (photos/red/005.png red): no comma", lambda lines: "".join(",".join(line.split(",")[:2]) + "\n" for line in lines[:-1]) + "photos/red/005.png red\n"),
    wrong("list of which every line is wrong", "18 of 18 lines cannot be used", lambda lines: HEAD + "".join(f"x{line}" for line in lines)),
    wrong("list with a header without a label", "line 1 (path,kind,split,group) is a header without a column label", lambda lines: HEAD.replace("label", "kind") + "".join(lines)),
    wrong("list with a quote that stays open", "list.csv, line 3: its quotes do not close", changed("photos", '"photos')),
    wrong("list that is no text", "none of UTF-8, UTF-16 and GB18030", lambda lines: b"photos/\xff\xff,red\n"),
    wrong("list of nothing", "list.csv names no images", lambda lines: ""),
    wrong("list of one class", "one class only (blue)", lambda lines: HEAD + "".join(lines[:6])),
    wrong("list without training lines", "no line of the split train", lambda lines: HEAD + "".join(lines).replace("train", "test")),
    wrong("list with a class in test only", "blu (did you mean blue?) on line 3", changed("blue,train", "blu,test")),
    wrong("list with a divided group", "group 000 is in train on line 2 and in test on line 8", lambda lines: HEAD + "".join(lines).replace("green,train,000", "green,test,000")),
    wrong("list that loses a class", "classes whose lines in train cannot be used: red", lambda lines: HEAD + "".join(lines).replace("red/", "rad/"), f"{WITH_LIST} {SKIP}"),
    wrong("list of one group", "no class has the two groups that data.test_fraction needs", lambda lines: HEAD + "".join(f"{line[:-4]}one\n" for line in lines), remedy=instead(f"{WITH_LIST} --set data.test_fraction=0 --set data.val_fraction=0", says="--set data.test_fraction=0")),
    wrong("list with a root that is not there", "data.root: nowhere is no folder", added(""), f"{WITH_LIST} --set data.root=nowhere", remedy=instead(f"{WITH_LIST} --set data.root=.", says="give the one that the paths in")),
    wrong("list without rights", "list.csv: cannot be read", locked, fault=ordinary_rights, remedy=typed()),
    wrong("class of broken images", "6 of 18 images cannot be used, and none is left in red", spoiled_class, f"{WITH_LIST} {SKIP}", remedy=again(restored)),
    wrong("broken images that may be skipped", "4 of 18 images cannot be used, first", some_broken, remedy=instead(f"{WITH_LIST} {SKIP}", says="set data.on_bad to skip")),
    wrong("skipped images with one without rights", "red/001.png: cannot be read", cut_and_locked, f"{WITH_LIST} {SKIP}", ordinary_rights, typed()),
]
# fmt: on
