"""The layout of an image folder: which folder is which part, which names are classes.

A folder for each class; or train/ and val/ (valid/, validation/) and test/, each with a folder for
each class. Works on lists of paths, so that folders and zips are judged alike.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pictorch.datasets.contents import Contents, Pictures
from pictorch.datasets.findings import Finding, TrainingFinding, differing_classes
from pictorch.errors import listed, renaming
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
# Photographs in formats that are not read here; people should know that these are left out.
_OTHER_PHOTOS = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw")
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini"}
_LAYOUTS = "give a folder with one folder of images for each class, or train/, val/ and test/ of those"
_LOOSE, _NO_ENDING = "image outside the class folders", "file without an ending"

Unused = dict[str, list[str]]  # kind of file: its paths


@dataclass
class Listing:
    """Paths below a root, with '/', hidden ones left out; `odd` are neither folders nor regular files."""

    where: str
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # on how the paths were read

    def below(self, top: str) -> "Listing":
        """Returns what lies in the folder `top`, with paths from there."""
        start = f"{top}/"
        files, folders, odd = (
            [path[len(start) :] for path in paths if path.startswith(start)]
            for paths in (self.files, self.folders, self.odd)
        )
        return Listing(f"{self.where}/{top}", files, folders, odd, self.remarks)

    def tops(self) -> list[str]:
        """Returns the folders directly in the root, in code point order."""
        return sorted(path for path in self.folders if "/" not in path)


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder of this name is none of the user's images or classes."""
    return name.startswith(".") or name.casefold() in _HIDDEN


def unwrapped(listing: Listing) -> str:
    """Returns the one folder that wraps everything in an archive, '' where there is none."""
    tops = listing.tops()
    if len(tops) != 1 or tops[0].casefold() in PARTS or not listing.below(tops[0]).folders:
        return ""
    return tops[0]


def arrange(listing: Listing, read: Callable[[str], bytes]) -> Contents:
    """Returns the parts of a listing with labels by class name; what is wrong stands in its findings."""
    part_folders, findings = _part_folders(listing)
    unused: Unused = defaultdict(list)
    if listing.odd:
        unused["link to a folder or special file"] = [f"{listing.where}/{path}" for path in listing.odd]
    found: dict[str, list[tuple[str, str]]] = {}
    for part, top in part_folders.items():
        below = listing.below(top) if top else listing
        found[part], faults = _images_by_class(below, unused)
        findings += faults
    names = sorted({name for images in found.values() for name, _ in images})
    findings += _class_findings(listing, found) + _unused_findings(unused)
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
    return Contents(tuple(names), parts, _remarks(listing, part_folders, unused), tuple(findings))


def _by_row(read: Callable[[str], bytes], paths: list[str]) -> Callable[[int], bytes]:
    return lambda row: read(paths[row])


def _part_folders(listing: Listing) -> tuple[dict[str, str], list[Finding]]:
    """Returns the folder of each part; one part 'train' in the root itself where classes lie there."""
    tops = listing.tops()
    named = [(PARTS[top.casefold()], top) for top in tops if top.casefold() in PARTS]
    parts, faults = dict(named), []
    if not named or (list(parts) == ["train"] and len(tops) > 1):  # a class may be called train
        return {"train": ""}, []
    if len(parts) < len(named):
        double = {part for part, count in Counter(part for part, _ in named).items() if count > 1}
        folders = ", ".join(shown(top) for part, top in named if part in double)
        what = f"{listing.where}: two folders for one part ({folders})"
        faults.append(Finding("error", what, "keep one of them"))
    if "train" not in parts:
        folders = listed(f"{shown(top)}/" for top in tops)
        faults.append(TrainingFinding("error", f"{listing.where} has {folders} but no train/", _LAYOUTS))
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}, faults


def _images_by_class(part: Listing, unused: Unused) -> tuple[list[tuple[str, str]], list[Finding]]:
    """Returns (class name, path below it) of each image, sorted; keeps the files that are none."""
    images, loose = [], 0
    others: dict[str, Counter[str]] = defaultdict(Counter)
    for path in part.files:
        ending = os.path.splitext(path)[1].casefold()
        name, inside, rest = path.partition("/")
        if ending in _ENDINGS and inside:
            images.append((name, rest))
            continue
        loose += ending in _ENDINGS
        kind = _LOOSE if ending in _ENDINGS else f"file ending in {ending}" if ending else _NO_ENDING
        unused[kind].append(f"{part.where}/{path}")
        others[name][kind] += 1
    classes = {name for name, _ in images}
    if not classes:
        return [], [_no_classes(part, loose)]
    empty = [
        shown(name) + (f" ({_counted(others[name])})" if others[name] else "")
        for name in part.tops()
        if name not in classes
    ]
    if not empty:
        return sorted(images), []
    what = f"{part.where}: class folders without images: {listed(empty)}"
    return sorted(images), [Finding("error", what, "fill or remove them")]


def _no_classes(part: Listing, loose: int) -> Finding:
    if not loose:
        return Finding("error", f"{part.where} has no images in class folders", _LAYOUTS)
    what = f"{part.where} has no images in class folders, but {loose:,} outside of them"
    remedy = "put those of each class into a folder of its own, such as cat/ and dog/"
    return Finding("error", what, remedy)


def _class_findings(listing: Listing, found: dict[str, list[tuple[str, str]]]) -> list[Finding]:
    """Returns the class names that cannot be used, and the classes that differ between the parts."""
    where, findings = listing.where, []
    names = {part: {name for name, _ in images} for part, images in found.items()}
    train = names.get("train", set())
    for name in sorted(set().union(*names.values())):
        try:
            name.encode()
        except UnicodeEncodeError:
            what = f"{where}: class folder {shown(name)} is no UTF-8"
            findings.append(Finding("error", what, renaming()))
    if len(train) == 1:
        what = f"{where} has one class only ({shown(*train)}), two are needed"
        inner = {path.split("/")[1] for path in listing.folders if path.count("/") == 1}
        remedy = (
            f"give {where}/{shown(*train)} if its folders are the classes" if len(inner) > 1 else _LAYOUTS
        )
        findings.append(TrainingFinding("error", what, remedy))
    for part in [part for part in names if train and names[part] and part != "train"]:
        findings += differing_classes(where, part, train, dict.fromkeys(names[part], ""))
    return findings


def _unused_findings(unused: Unused) -> list[Finding]:
    findings = []
    for kind, paths in sorted(unused.items()):
        what, ending = f"not used: {_counted(Counter({kind: len(paths)}))}", kind.rpartition(" ")[2]
        places = tuple(shown(path) for path in sorted(paths))
        if ending in _OTHER_PHOTOS:
            findings.append(Finding("warning", what, "save them as JPEG or PNG, then they are used", places))
        elif kind == _LOOSE:
            findings.append(Finding("warning", what, "move them into the folder of their class", places))
        elif kind == _NO_ENDING:
            findings.append(Finding("info", what, "give them .jpg or .png if they are images", places))
        else:
            findings.append(Finding("info", what, "nothing, if they are no images", places))
    return findings


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} x {shown(kind)}" for kind, count in sorted(kinds.items()))


def _remarks(listing: Listing, parts: dict[str, str], unused: Unused) -> tuple[str, ...]:
    lines = list(listing.remarks)  # without the path: the store keeps them and may be found by another one
    if "" not in parts.values():
        beside = [top for top in listing.tops() if top not in parts.values()]
        if beside:
            lines.append(f"not used: folders {listed(map(shown, beside))}")
    if unused:
        kinds = Counter({kind: len(paths) for kind, paths in unused.items()})
        photos = any(kind.rpartition(" ")[2] in _OTHER_PHOTOS for kind in kinds)
        remedy = "; save photographs as JPEG or PNG to use them" if photos else ""
        lines.append(f"not used: {_counted(kinds)}{remedy}")
    return tuple(lines)
