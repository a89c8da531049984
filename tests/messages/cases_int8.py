"""The int8 form that is refused: without images, without validation images, twice, and where it costs too much."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from messages.case import Case, instead
from pictorch.exporting import quantize
from tiny_bundle import color_bundle, color_photos, conv_model

EXPORT = "export bundle --to int8 --data photos"


def colors(val_fraction: float = 0.2) -> None:
    color_bundle(Path("bundle"), color_photos(Path("photos")), val_fraction=val_fraction)


def int8() -> None:
    from pictorch import export

    colors()
    export("bundle", to="int8", data="photos", out="int8")


def turned(*unused: object) -> bytes:
    """Returns a graph that knows no colour."""
    graph = conv_model()
    for tensor in graph.graph.initializer:
        if tensor.name == "matrix":
            tensor.raw_data = bytes(len(tensor.raw_data))
    return graph.SerializeToString()


def spoiled() -> AbstractContextManager[object]:
    patch = pytest.MonkeyPatch()
    patch.setattr(quantize, "int8_bytes", turned)
    return _undone(patch)


class _undone(AbstractContextManager[object]):  # noqa: N801
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __exit__(self, *unused: object) -> None:
        self.patch.undo()


FLOAT = instead("verify bundle", says="the float bundle")

# fmt: off
CASES = [
    Case("int8 without images", "export bundle --to int8", 2, "bundle lie with --data SOURCE", instead(EXPORT, says="--data SOURCE"), colors, slow=True),
    Case("int8 without validation images", EXPORT, 8, "photos has no validation images", FLOAT, lambda: colors(0)),
    Case("int8 of int8", "export int8 --to int8 --data photos", 2, "int8 is int8 already", FLOAT, int8, slow=True),
    Case("int8 that costs accuracy", EXPORT, 8, "falls from 100.00 % to ", FLOAT, colors, spoiled),
]
# fmt: on
