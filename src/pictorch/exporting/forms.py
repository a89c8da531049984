"""The other forms of a bundle: where each goes, what its answers are compared on, and what is told of it.

A form is a folder that `write_form` fills, all or nothing, and that carries `pictorch.json` with the hash
of each file. The modules that make one are imported when it is asked for.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pictorch import durable, notebook
from pictorch.bundle import Bundle
from pictorch.bundle.agreement import FEWEST_IMAGES, Agreement, compare
from pictorch.errors import GateError, RecipeError, missing_part
from pictorch.markup import element

if TYPE_CHECKING:
    from pictorch.datasets import Splits
    from pictorch.exporting.onnx_graph import ClassProbabilities

BUNDLE = "bundle"
MANIFEST = "pictorch.json"

_SCHEMA = 1
_CHUNK = 250  # images
_MAKERS = {
    "onnx": "pictorch.exporting.plain_onnx",
    "int8": "pictorch.exporting.quantize",
    "web": "pictorch.exporting.web",
    "mobile": "pictorch.exporting.mobile",
    "triton": "pictorch.exporting.triton",
}
_TOOLS = {"mobile": "executorch"}
FORMS = (BUNDLE, *_MAKERS)


@dataclass(frozen=True)
class FormSource:
    """What a form is made from: a bundle, checked, the images of its run where they are at hand, and the
    network in PyTorch where a run is exported. `progress` takes lines for people.
    """

    bundle: Bundle
    progress: Callable[[str], None]
    splits: "Splits | None" = None
    network: "ClassProbabilities | None" = None

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Yields the images that answers are compared on, uint8 (k, size, size, 3).

        The validation images, filled up from training images to FEWEST_IMAGES; without splits the golden
        samples and, up to the same number, mixtures of two of them.
        """
        if self.splits is None:
            yield from _chunks(_mixtures(self.bundle.golden()[0]))
            return
        from pictorch.exporting.parity import parity_rows

        for images, rows in parity_rows(self.splits):
            for chosen in _chunks(rows):
                yield np.ascontiguousarray(images.images[chosen])


@dataclass(frozen=True)
class ExportedForm:
    """A form that was written: its folder, the size of each file in bytes, how its answers agree with the
    bundle's, what else there is to tell, by name, and the command that comes next.
    """

    form: str
    path: Path
    files: Mapping[str, int]
    agreement: Agreement
    facts: Mapping[str, Any] = field(default_factory=dict)
    next_command: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `export --to FORM --json` prints it."""
        plain = {"path": str(self.path), "files": dict(self.files), "facts": dict(self.facts)}
        return {**vars(self), **plain, "agreement": vars(self.agreement)}

    def in_words(self) -> list[str]:
        """Returns the lines for a person: where it lies, how it agrees, the rest, and what comes next."""
        agreement = self.agreement
        lines = [
            f"exported {self.path}: {len(self.files)} files, {sum(self.files.values()) / 1e6:.2f} MB",
            f"answers as the bundle does on {agreement.n:,} images ({agreement.in_words()})",
            *(f"{name}: {value}" for name, value in self.facts.items()),
        ]
        return [*lines, f"next:  {self.next_command}"] if self.next_command else lines

    def _repr_html_(self) -> str:
        first, *others = self.in_words()
        return notebook.card(first, *(element("p", line) for line in others))


def make_form(form: str, source: FormSource, target: Path) -> "ExportedForm | Bundle":
    """Writes a form of a bundle to `target` and returns what it is; int8 is a bundle again.

    Raises GateError where its answers are not the bundle's, RecipeError where something else stands at
    `target` or the form cannot be made of this network, MissingPartError, ResourceError.
    """
    with _extra_named():
        made: ExportedForm | Bundle = import_module(_MAKERS[form]).make(source, target)
    return made


def check_agreement(
    form: str, source: FormSource, answers: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> Agreement:
    """Returns how `answers`, from images uint8 (k, size, size, 3) to probabilities (k, C), are the bundle's.

    Raises GateError where they are not.
    """
    model = source.bundle.model()
    pairs = [(model.probabilities(images), answers(images)) for images in source.images()]
    expected, found = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    agreement = compare(expected, found, source.bundle.facts.golden_tolerance)
    if not agreement.ok:
        raise GateError(
            f"the form {form} gives other answers than {source.bundle.path} on {agreement.n:,} images "
            f"({agreement.in_words()}); nothing was written, choose another form or checkpoint"
        )
    return agreement


def write_form(
    form: str, target: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> dict[str, int]:
    """Writes the folder of a form, whole or not at all, and returns the size of each file in bytes.

    A name may have folders in it. An older folder of the same form is replaced. Raises RecipeError where
    anything else stands there, ResourceError.
    """
    check_form_target(form, target)
    manifest = {"schema": _SCHEMA, "form": form, **facts}
    with durable.new_folder(target, manifest, manifest_name=MANIFEST) as folder:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return {path.relative_to(target).as_posix(): path.stat().st_size
            for path in sorted(target.rglob("*")) if path.is_file()}  # fmt: skip


def check_form_target(form: str, target: Path) -> None:
    """Raises RecipeError where writing this form to `target` would replace anything else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        is_older = durable.parse_manifest((target / MANIFEST).read_bytes())["form"] == form
    except (OSError, ValueError, KeyError):
        is_older = False
    if not is_older:
        raise RecipeError(
            f"--out {target} is there and is no export of the form {form}; remove it or choose another, "
            f"as `--out {shlex.quote(f'{target}-{form}')}`"
        )


def check_form_tools(form: str) -> None:
    """Raises MissingPartError where what makes a form is not installed, before anybody waits for it."""
    with _extra_named():
        if form in _TOOLS:
            import_module(_TOOLS[form])
        if form == "web":
            import_module(_MAKERS[form]).check_runtime()


@contextmanager
def _extra_named() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_part(error) or error from None


def unsaid(line: str) -> None:
    """Takes a line for people where nobody reads it."""


def _mixtures(golden: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the golden samples and, up to FEWEST_IMAGES, what lies between two, their mirrors included."""
    every = np.concatenate([golden, golden[:, :, ::-1]]).astype(np.float32)
    draws = np.random.Generator(np.random.Philox(0))
    count = max(0, FEWEST_IMAGES - len(golden))
    first, steps = draws.integers(0, len(every), count), draws.integers(1, len(every), count)
    second = (first + steps) % len(every)
    share = draws.random((count, 1, 1, 1), np.float32)
    mixed = every[first] * share + every[second] * (1 - share)
    return np.concatenate([golden, np.rint(mixed).astype(np.uint8)])


def _chunks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
