"""The mobile form: an ExecuTorch program for apps on Android and iOS, checked in ExecuTorch's own runtime.

XNNPACK computes what it knows, on the phone's CPU; ExecuTorch's portable kernels do the rest.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pictorch.bundle import Bundle
from pictorch.errors import RecipeError
from pictorch.exporting.forms import ExportedForm, FormSource, check_agreement, write_form
from pictorch.exporting.speed import call_seconds
from pictorch.images import shown
from pictorch.plugins import in_short

PROGRAM, LABELS = "model.pte", "labels.txt"
GOLDEN_IMAGES, GOLDEN_PROBABILITIES = "golden_images.bin", "golden_probabilities.bin"

_FORM = "mobile"
_METHOD = "forward"


@dataclass(frozen=True)
class MobileProgram:
    """A .pte as bytes, what it answers to images uint8 (k, size, size, 3), and where its operators run."""

    data: bytes
    answers: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    in_xnnpack: int
    elsewhere: int


def make(source: FormSource, target: Path) -> ExportedForm:
    """Writes model.pte, labels.txt and golden samples and returns what they are.

    The program takes one image as the bundle does, uint8 (1, size, size, 3), and gives its probabilities.
    Raises RecipeError for a network that ExecuTorch has no form for, GateError where the program answers
    otherwise than the bundle, MissingPartError, ResourceError.
    """
    assert source.network is not None, "the door refuses a bundle"
    bundle, size = source.bundle, source.bundle.input.stored_size
    source.progress("lowering the network to ExecuTorch and XNNPACK")
    program = _program(source.network, size)
    source.progress("asking ExecuTorch's own runtime, one image after the other")
    agreement = check_agreement(_FORM, source, program.answers)

    images, probabilities = bundle.golden()
    files = {
        PROGRAM: program.data,
        LABELS: "".join(f"{shown(name)}\n" for name in bundle.class_names).encode(),
        GOLDEN_IMAGES: images.tobytes(),
        GOLDEN_PROBABILITIES: probabilities.astype("<f4").tobytes(),
    }
    sizes = write_form(_FORM, target, files, _description(bundle, len(images)))
    seconds = call_seconds({_FORM: lambda: program.answers(images[:1])})[_FORM]
    facts = {
        "input": f"uint8 (1, {size}, {size}, 3), RGB, pixels as they are",
        "output": f"float32 (1, {len(bundle.class_names)}), probabilities",
        "operators": program.in_xnnpack + program.elsewhere,
        "operators_in_xnnpack": program.in_xnnpack,
        "milliseconds_per_image": round(median(seconds) * 1000, 3),
        "measured_on": "this machine's CPU, not a phone",
    }
    return ExportedForm(_FORM, target, sizes, agreement, facts)


def _description(bundle: Bundle, golden: int) -> dict[str, Any]:
    """Returns what an app must know; nothing in it depends on the day or the machine."""
    size, classes = bundle.input.stored_size, len(bundle.class_names)
    return {
        "program": PROGRAM,
        "method": _METHOD,
        "backend": "XNNPACK",
        "executorch": version("executorch"),
        "input": {**bundle.input.to_json(), "shape": [1, size, size, 3]},
        "output": {"dtype": "float32", "shape": [1, classes], "values": "probabilities"},
        "class_names": list(bundle.class_names),
        "golden": {
            "n": golden,
            "images": GOLDEN_IMAGES,
            "probabilities": GOLDEN_PROBABILITIES,
            "tolerance": bundle.facts.golden_tolerance,
        },
        "licence": bundle.facts.licence,
    }


def _program(network: nn.Module, size: int) -> MobileProgram:
    try:
        with _quiet():
            return _lowered(network, size)
    except ImportError:
        raise
    except Exception as error:  # whatever the exporter, XNNPACK or the runtime raise about an operator
        raise RecipeError(
            f"the network cannot become an ExecuTorch program ({in_short(error)}); "
            "mend its forward or use `--to onnx`"
        ) from error


def _lowered(network: nn.Module, size: int) -> MobileProgram:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from executorch.runtime import Runtime

    example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        exported = constant_prop_pass(torch.export.export(network, (example,)))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    delegation = get_delegation_info(edge.exported_program().graph_module)
    counts = {**delegation.delegation_by_operator}
    counts.pop("getitem", None)  # picks one of several results, computes nothing
    data = bytes(edge.to_executorch().buffer)
    method = Runtime.get().load_program(data).load_method(_METHOD)

    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(images)
        return np.concatenate([method.execute([image[None]])[0].numpy() for image in pixels])

    inside = sum(each.delegated for each in counts.values())
    outside = sum(each.non_delegated for each in counts.values())
    return MobileProgram(data, answers, inside, outside)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings, and what log records and C++ write to stderr, from the user's screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
