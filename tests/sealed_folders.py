"""Folders as `durable.new_folder` makes them, for the tests of durable writing."""

import os
from pathlib import Path

from pictorch import durable

Files = dict[str, bytes]
OLD: Files = {"weights": b"old weights", "inner/state": b"old state"}
NEW: Files = {"weights": b"new weights, longer", "state": b"new state"}


def fill(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.write(data)


def put(target: Path, files: Files = NEW, *, keep_previous: bool = False, step: int = 0) -> None:
    with durable.new_folder(target, {"step": step}, keep_previous=keep_previous) as folder:
        fill(folder, files)


def newest(target: Path) -> tuple[Files, str | None]:
    folder, manifest, complaint = durable.newest_folder(target)
    return {name: (folder / name).read_bytes() for name in manifest["files"]}, complaint


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))
