"""`export --to`: the door to every form, and the plain ONNX form."""

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from messages.case import Case, instead, meant, typed
from messages.cases_bundles import graph, sealed
from messages.faults import not_installed, patched
from messages.material import bundle, photos
from pictorch.exporting import forms, plain_onnx

PLAIN = "export bundle -q --to onnx"
TRITON = "export bundle -q --to triton"


def without_normalisation(model: onnx.ModelProto) -> None:
    """Averages pixels as 64-bit floats."""
    model.graph.node[0].attribute[0].i = TensorProto.DOUBLE
    model.graph.node[1].output[0] = "doubles"
    model.graph.node.insert(2, helper.make_node("Cast", ["doubles"], ["means"], to=TensorProto.FLOAT))


def without_softmax(model: onnx.ModelProto) -> None:
    del model.graph.node[3].attribute[:]
    model.graph.node[3].op_type = "Sigmoid"


def darker(values: object) -> list[float]:
    return [0.5, 0.5, 0.5]


def refused(name: str, names: str, change: Callable[[], object]) -> Case:
    """A graph that has no plain form; the message names one that keeps it whole."""
    return Case(name, PLAIN, 2, names, typed(), change)


# fmt: off
CASES = [
    Case("unknown form", "export bundle -q --to tritn", 2, "unknown form 'tritn'", meant, bundle),
    Case("bundle of a bundle", "export bundle -q", 2, "--to bundle needs the run, and bundle is a bundle", instead(TRITON, says="or another form: onnx, int8, web, triton"), bundle),
    Case("form of a bundle with a checkpoint", f"{TRITON} --checkpoint best", 2, "bundle is a bundle, which holds one checkpoint", instead(TRITON, says="leave out --checkpoint"), bundle),
    Case("form over something else", f"{TRITON} --out photos", 2, "--out photos is there and is no export of the form triton", typed(), lambda: (bundle(), photos())),
    Case("form over another form", f"{TRITON} --out made", 2, "--out made is there and is no export of the form triton", typed(), lambda: (bundle(), forms.write_form("web", Path("made"), {"index.html": b""}, {}))),
    Case("form with other answers", PLAIN, 8, "the form onnx gives other answers than bundle", instead(TRITON, says="choose another form"), bundle, patched(plain_onnx, "_rounded", darker)),
    Case("onnx is not installed", PLAIN, 9, "onnx", instead(PLAIN, says="`pip install 'pictorch[train]'`"), bundle, not_installed("onnx", gone="pictorch.exporting.plain_onnx")),
    refused("plain form of views", "bundle averages the views flip_shift", sealed(views="flip_shift")),
    refused("plain form without a normalisation", "bundle: its graph does not begin", graph(without_normalisation)),
    refused("plain form without a softmax", "bundle: its graph does not end", graph(without_softmax)),
]
# fmt: on
