"""The layout of an image folder: which folder is which part, which names are classes.

A folder for each class; or train/ and val/ (valid/, validation/) and test/, each with a folder for
each class. Works on lists of paths, so that folders and zips are judged alike.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pictorch.datasets.contents import Contents, Pictures
from pictorch.errors import DataError
from pictorch.images import shown

_ENDINGS = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
}
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini"}
_LAYOUTS = "give a folder with one folder of images for each class, or with train/, val/ and test/ of those"


@dataclass
class Listing:
    """Paths below a root, with '/', hidden ones left out; `odd` are neither folders nor regular files."""

    where: str
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def below(self, top: str) -> "Listing":
        """Returns what lies in the folder `top`, with paths from there."""
        start = f"{top}/"
        return Listing(
            f"{self.where}/{top}",
            *(
                [path[len(start) :] for path in paths if path.startswith(start)]
                for paths in (self.files, self.folders, self.odd)
            ),
        )

    def tops(self) -> list[str]:
        """Returns the folders directly in the root, in code point order."""
        return sorted(path for path in self.folders if "/" not in path)


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is none of the user's images or classes."""
    return name.startswith(".") or name.casefold() in _HIDDEN


def unwrapped(listing: Listing) -> str:
    """Returns the one folder that wraps everything in an archive, '' where there is none."""
    tops = listing.tops()
    if len(tops) != 1 or tops[0].casefold() in _PARTS or not listing.below(tops[0]).folders:
        return ""
    return tops[0]


def arrange(listing: Listing, read: Callable[[str], bytes]) -> Contents:
    """Returns the parts of a listing with labels by class name; raises DataError for a wrong layout."""
    part_folders = _part_folders(listing)
    unused = Counter("link to a folder or special file" for _ in listing.odd)
    found: dict[str, list[tuple[str, str]]] = {}
    for part, top in part_folders.items():
        found[part] = _images_by_class(listing.below(top) if top else listing, unused)
    names = sorted({name for name, _ in found["train"]})
    _check_classes(listing.where, names, found)
    label_of = {name: label for label, name in enumerate(names)}
    parts = {}
    for part, images in found.items():
        top = part_folders[part]
        start = f"{top}/" if top else ""
        paths = [f"{start}{name}/{rest}" for name, rest in images]
        labels = np.array([label_of[name] for name, _ in images], dtype=np.int64)
        parts[part] = Pictures(
            names=[f"{listing.where}/{path}" for path in paths],
            labels=labels,
            read=_by_row(read, paths),
        )
    return Contents(tuple(names), parts, _remarks(listing, part_folders, unused))


def _by_row(read: Callable[[str], bytes], paths: list[str]) -> Callable[[int], bytes]:
    return lambda row: read(paths[row])


def _part_folders(listing: Listing) -> dict[str, str]:
    """Returns the folder of each part; one part 'train' in the root itself where classes lie there."""
    tops = listing.tops()
    named = [(_PARTS[top.casefold()], top) for top in tops if top.casefold() in _PARTS]
    parts = dict(named)
    if not named or (list(parts) == ["train"] and len(tops) > 1):  # a class may be called train
        return {"train": ""}
    if len(parts) < len(named):
        double = {part for part, count in Counter(part for part, _ in named).items() if count > 1}
        folders = ", ".join(shown(top) for part, top in named if part in double)
        raise DataError(f"{listing.where}: two folders for one part ({folders}); keep one of them")
    if "train" not in parts:
        folders = ", ".join(f"{shown(top)}/" for top in tops)
        raise DataError(f"{listing.where} has {folders} but no train/; {_LAYOUTS}")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _images_by_class(part: Listing, unused: Counter[str]) -> list[tuple[str, str]]:
    """Returns (class name, path below it) of each image, sorted; counts the files that are none."""
    images = []
    for path in part.files:
        ending = os.path.splitext(path)[1].casefold()
        name, inside, rest = path.partition("/")
        if ending not in _ENDINGS:
            unused[f"file ending in {ending}" if ending else "file without an ending"] += 1
        elif not inside:
            unused["image outside the class folders"] += 1
        else:
            images.append((name, rest))
    classes = {name for name, _ in images}
    empty = [shown(name) for name in part.tops() if name not in classes]
    if not classes:
        raise DataError(f"{part.where} has no images in class folders; {_LAYOUTS}")
    if empty:
        raise DataError(
            f"{part.where}: class folders without images: {', '.join(empty)}; fill or remove them"
        )
    return sorted(images)


def _check_classes(where: str, names: list[str], found: dict[str, list[tuple[str, str]]]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: class folder {shown(name)} is no UTF-8; rename it") from None
    if len(names) == 1:
        raise DataError(f"{where} has one class only ({shown(names[0])}), two are needed; {_LAYOUTS}")
    for part, images in found.items():
        strange = sorted({shown(name) for name, _ in images} - {shown(name) for name in names})
        if strange:
            raise DataError(
                f"{where}: classes in {part} but not in train: {', '.join(strange)}; "
                "rename, remove, or add them to train"
            )


def _remarks(listing: Listing, parts: dict[str, str], unused: Counter[str]) -> tuple[str, ...]:
    lines = []
    if "" not in parts.values():
        beside = [top for top in listing.tops() if top not in parts.values()]
        if beside:
            lines.append(f"{listing.where}: not used: folders {', '.join(shown(name) for name in beside)}")
    if unused:
        kinds = ", ".join(f"{count} x {shown(kind)}" for kind, count in sorted(unused.items()))
        lines.append(f"{listing.where}: not used: {kinds}")
    return tuple(lines)
