"""The bundle: a trained classifier as one folder or zip that anyone can check and run without torch.

It holds model.onnx, golden.npz (images with the probabilities that ONNX Runtime gave for them),
MODEL_CARD.md and bundle.json, which carries the facts, size and SHA-256 of every other file, and a
SHA-256 of itself. Hashes show damage, not origin: they say nothing about who made the bundle.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch import durable, notebook
from pictorch.bundle.agreement import TOLERANCE, Agreement, compare
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.bundle.source import AGAIN, LARGEST_BUNDLE_BYTES, BundleSource, bundle_source, zip_bytes
from pictorch.errors import CheckpointError, RecipeError, UserError
from pictorch.images import InputSpec
from pictorch.run_records import npz_bytes
from pictorch.views import NO_VIEWS, VIEWS

SCHEMA = 2  # of a bundle whose golden samples have a tolerance of their own; 1 of every other
SCORES = ("n", "accuracy", "accuracy_interval", "loss", "top5")  # what a bundle keeps of an evaluation
MANIFEST, MODEL, GOLDEN, CARD = "bundle.json", "model.onnx", "golden.npz", "MODEL_CARD.md"

_LACKED: dict[str, Any] = {"views": NO_VIEWS, "quantization": None, "golden_tolerance": TOLERANCE}
_LARGEST_MANIFEST_BYTES = 16 * 2**20
_LARGEST_GOLDEN_BYTES = 512 * 2**20


@dataclass(frozen=True)
class BundleFacts:
    """What bundle.json says of a model; nothing in it depends on the day, the machine or a path.

    `views` names those that the graph itself shows each image in. `quantization` says how a graph of 8-bit
    integers was made and what it was measured against; `golden_tolerance` is how far its answers to the
    golden samples may lie from those it gave where it was made.
    """

    class_names: tuple[str, ...]
    input: InputSpec
    recipe: dict[str, Any]
    data_fingerprint: str
    checkpoint: str
    metrics: dict[str, Any]
    licence: str
    opset: int
    views: str = NO_VIEWS
    quantization: dict[str, Any] | None = None
    golden_tolerance: float = TOLERANCE

    @property
    def schema(self) -> int:
        """The lowest schema number whose readers understand all of it."""
        return 1 if self.golden_tolerance == TOLERANCE else SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as bundle.json holds them, which is silent on what a plain float graph lacks."""
        record = {**vars(self), "class_names": list(self.class_names), "input": self.input.to_json()}
        return {key: value for key, value in record.items() if key not in _LACKED or value != _LACKED[key]}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "BundleFacts":
        """Returns the facts behind a bundle.json; raises KeyError, TypeError, ValueError, UserError."""
        class_names = record["class_names"]
        if not class_names or not all(isinstance(name, str) for name in class_names):
            raise ValueError("class_names")
        kinds = {"recipe": dict, "data_fingerprint": str, "checkpoint": str, "metrics": dict,
                 "licence": str, "opset": int}  # fmt: skip
        for key, kind in kinds.items():
            if not isinstance(record[key], kind):
                raise TypeError(key)
        lacked = {key: record.get(key, value) for key, value in _LACKED.items()}
        if lacked["views"] not in VIEWS:
            raise ValueError("views")
        if not isinstance(lacked["quantization"], dict | None):
            raise TypeError("quantization")
        if not isinstance(lacked["golden_tolerance"], float) or not 0 < lacked["golden_tolerance"] < 1:
            raise ValueError("golden_tolerance")
        return BundleFacts(
            class_names=tuple(class_names),
            input=InputSpec.from_json(record["input"]),
            **lacked,
            **{key: record[key] for key in kinds},
        )


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, every byte of which was compared with its hashes."""

    path: Path
    facts: BundleFacts
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the model's outputs."""
        return self.facts.class_names

    @property
    def input(self) -> InputSpec:
        """What the model takes."""
        return self.facts.input

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe that it was trained with, as JSON."""
        return self.facts.recipe

    @property
    def address_name(self) -> str:
        """What of the recipe's name may stand in addresses and folders: ASCII letters, digits, `_.-`."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(self.recipe.get("name", "model"))).lstrip(".") or "model"

    @property
    def checkpoint(self) -> str:
        """The checkpoint of the run that it was made from."""
        return self.facts.checkpoint

    def to_json(self) -> dict[str, Any]:
        """Returns where it lies, its files with their sizes in bytes, and its facts."""
        sizes = {name: len(data) for name, data in sorted(self.files.items())}
        return {"bundle": str(self.path), "files": sizes, **self.facts.to_json()}

    def _repr_html_(self) -> str:
        scores = {
            f"{split} accuracy": notebook.accuracy(one["accuracy"], one["accuracy_interval"], one["n"])
            for split in ("val", "test")
            if (one := self.facts.metrics.get(split)) is not None
        }
        described = {
            "path": str(self.path),
            "size": f"{sum(map(len, self.files.values())) / 1e6:.2f} MB",
            "input": f"images of {self.input.stored_size} x {self.input.stored_size} pixels",
            f"{len(self.class_names)} classes": ", ".join(self.class_names),
            "checkpoint": self.checkpoint,
        }
        return notebook.card("Bundle", notebook.facts({**described, **scores}))

    def model(self, threads: int | None = None) -> OnnxModel:
        """Returns the model, ready to run; raises CheckpointError where it is not as promised."""
        return OnnxModel(
            self.files[MODEL], name=f"{self.path}/{MODEL}", size=self.input.stored_size,
            num_classes=len(self.class_names), threads=threads,
        )  # fmt: skip

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Returns golden images uint8 (k, size, size, 3) and their probabilities float32 (k, C)."""
        size = self.input.stored_size
        images, probabilities = _read_golden(self.files[GOLDEN], f"{self.path}/{GOLDEN}")
        if (
            images.dtype != np.uint8
            or images.shape[1:] != (size, size, 3)
            or probabilities.dtype != np.float32
            or probabilities.shape != (len(images), len(self.class_names))
            or not len(images)
        ):
            raise CheckpointError(
                f"{self.path}/{GOLDEN} does not fit the bundle's input and classes; {AGAIN}"
            )
        return images, probabilities

    def replay(self, model: OnnxModel) -> Agreement:
        """Returns how the model agrees with the golden samples; raises CheckpointError if it does not."""
        images, expected = self.golden()
        agreement = compare(expected, model.probabilities(images), self.facts.golden_tolerance)
        if not agreement.ok:
            raise CheckpointError(
                f"{self.path} gives other answers here than where it was made ({agreement.in_words()}); "
                "make it again on this machine with `pictorch export RUN`"
            )
        return agreement


def open_bundle(path: str | Path) -> Bundle:
    """Returns the bundle at `path`, a folder or a zip; raises CheckpointError in one line."""
    asked = Path(path)
    source = bundle_source(_standing(asked))
    names = source.names()
    if MANIFEST not in names:
        raise CheckpointError(f"{asked} is not a bundle (it has no {MANIFEST}); {AGAIN}")
    raw = source.read(MANIFEST, _LARGEST_MANIFEST_BYTES)
    record = _checked_manifest(raw, asked)
    files = {MANIFEST: raw, **_checked_files(source, names - {MANIFEST}, record["files"], asked)}
    try:
        facts = BundleFacts.from_json(record)
    except UserError as error:
        raise CheckpointError(f"{asked}/{MANIFEST}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{asked}/{MANIFEST}: {error} is missing or wrong; {AGAIN}") from None
    return Bundle(asked, facts, files)


def write_bundle(target: Path, facts: BundleFacts, files: Mapping[str, bytes]) -> Bundle:
    """Writes a bundle, as a zip where the name ends in .zip, and returns it as read back.

    `files` holds all but bundle.json. Raises RecipeError where `target` is something else than an
    older bundle, ResourceError where it cannot be written; what stood there then stays.
    """
    check_target(target)
    manifest = {
        "schema": facts.schema,
        **facts.to_json(),
        "files": {name: _stated(files[name]) for name in sorted(files)},
    }
    if is_zip_name(target):
        durable.seal_manifest(manifest)
        durable.write_bytes(target, zip_bytes({**files, MANIFEST: durable.json_bytes(manifest)}))
    else:
        with durable.new_folder(target, manifest, manifest_name=MANIFEST) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
    return open_bundle(target)


def is_bundle(path: str | Path) -> bool:
    """Returns whether `path` can only be meant as a bundle: any file, or a folder with bundle.json."""
    standing = _standing(Path(path))
    return standing.is_file() or is_zip_name(standing) or (standing / MANIFEST).exists()


def check_target(target: Path) -> None:
    """Raises RecipeError where writing a bundle to `target` would replace anything but a bundle."""
    is_empty_folder = target.is_dir() and not any(target.iterdir())
    if target.exists() and not is_empty_folder and not _is_older_bundle(target):
        raise RecipeError(f"--out {target} is there and is not a bundle; remove it or choose another --out")


def is_zip_name(target: Path) -> bool:
    """Returns whether a bundle of this name is one zip file."""
    return target.suffix.lower() == ".zip"


def golden_bytes(images: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> bytes:
    """Returns golden.npz."""
    return npz_bytes({"images": images, "probabilities": probabilities})


def _is_older_bundle(target: Path) -> bool:
    if target.is_dir() == is_zip_name(target):
        return False
    try:
        names = bundle_source(target).names()
    except CheckpointError:
        return False
    return MANIFEST in names and names <= {MANIFEST, MODEL, GOLDEN, CARD}


def _standing(path: Path) -> Path:
    """A kill between the two renames of a second export leaves the old bundle under `.previous`."""
    if path.exists():
        return path
    previous = durable.previous_of(path)
    return previous if previous.is_dir() else path


def _checked_manifest(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(raw)["schema"]
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path} is damaged ({MANIFEST} is not JSON); {AGAIN}") from None
    except (TypeError, KeyError):
        schema = None
    if not isinstance(schema, int):
        raise CheckpointError(f"{path} is not a bundle ({MANIFEST} has no schema number); {AGAIN}")
    if schema > SCHEMA:
        raise CheckpointError(
            f"{path} was written by a newer pictorch (schema {schema}, this one reads {SCHEMA}); "
            "upgrade with `pip install -U pictorch`"
        )
    try:
        record = durable.parse_manifest(raw)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({MANIFEST}: {error}); {AGAIN}") from None
    if not {MODEL, GOLDEN} <= record["files"].keys():
        raise CheckpointError(
            f"{path} is not a bundle ({MANIFEST} does not list {MODEL} and {GOLDEN}); {AGAIN}"
        )
    return record


def _checked_files(
    source: BundleSource, names: set[str], listed: Mapping[str, Any], path: Path
) -> dict[str, bytes]:
    for name in sorted(names ^ listed.keys()):
        verdict = "is missing" if name in listed else "does not belong there"
        raise CheckpointError(f"{path} is damaged ({name} {verdict}); {AGAIN}")
    files, bytes_left = {}, LARGEST_BUNDLE_BYTES
    for name, stated in listed.items():
        files[name] = source.read(name, bytes_left)
        bytes_left -= len(files[name])
        if bytes_left < 0:
            raise CheckpointError(
                f"{path} has more than {LARGEST_BUNDLE_BYTES:,} bytes, the most a bundle may; "
                "export a smaller network"
            )
        if stated != _stated(files[name]):
            raise CheckpointError(f"{path} is damaged (size or sha256 of {name} differs); {AGAIN}")
    return files


def _read_golden(data: bytes, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_GOLDEN_BYTES:
                raise CheckpointError(f"{name} holds more than {_LARGEST_GOLDEN_BYTES:,} bytes; {AGAIN}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return arrays["images"], arrays["probabilities"]
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise CheckpointError(f"{name} cannot be read ({error}); {AGAIN}") from None


def _stated(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
