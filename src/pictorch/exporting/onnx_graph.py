"""A trained classifier as the bytes of one ONNX file, softmax inside, equal for equal networks."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME
from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks.views import logits_of_views
from pictorch.plugins import in_short
from pictorch.views import NO_VIEWS, VIEWS

OPSET = 20

_EXAMPLE_BATCH = 2  # torch.export takes a batch of one for a constant


class ClassProbabilities(nn.Module):
    """A classifier with softmax behind it, before which the logits of several views can be averaged."""

    def __init__(self, classifier: nn.Module, views: str = NO_VIEWS) -> None:
        super().__init__()
        self.classifier = classifier
        self.views = VIEWS[views]

    def forward(self, images: Tensor) -> Tensor:
        """Returns probabilities (N, num_classes) for uint8 images (N, H, W, 3)."""
        return torch.softmax(logits_of_views(self.classifier, images, self.views), dim=1)


def onnx_bytes(network: ClassProbabilities, spec: InputSpec) -> bytes:
    """Returns the ONNX file of a network in evaluation mode on the CPU.

    Input `images` uint8 (N, stored_size, stored_size, 3), output `probabilities` float32
    (N, num_classes), N dynamic, operator set OPSET, weights inside the file, each under its own name and
    with its own values, so that a bundle can be trained on. What can be computed from them alone, such as
    a batch norm folded into a convolution, ONNX Runtime computes when it loads the graph. Raises RecipeError
    for a network, of the user's own, that ONNX has no form for.
    """
    example = torch.zeros((_EXAMPLE_BATCH, spec.stored_size, spec.stored_size, 3), dtype=torch.uint8)
    with _quiet(), _refused(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            verbose=False,
            optimize=False,
        )
        assert program is not None
        _simplify(program.model)
    model = program.model_proto
    _strip(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _simplify(graph: Any) -> None:
    """Computes what no weight enters, such as shapes, and removes what nothing needs."""
    weights = set(graph.graph.initializers)

    def is_free_of_weights(node: Any) -> bool | None:
        return False if any(value.name in weights for value in node.inputs if value) else None

    optimizer.inline(graph)
    optimizer.fold_constants(graph, should_fold=is_free_of_weights)
    optimizer.remove_unused_nodes(graph)


def _strip(model: onnx.ModelProto) -> None:
    """Removes what tells of the exporting machine: paths, source lines, versions, inner shapes."""
    model.producer_name = "pictorch"
    model.ClearField("producer_version")
    graph = model.graph
    graph.ClearField("value_info")
    parts = [model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            attribute.ClearField("doc_string")


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Tells what the exporter could not follow, which stands in the last of the causes that it gives."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise RecipeError(
            f"the network cannot be written as ONNX ({in_short(cause)}); "
            "its forward can neither choose by values of tensors nor call what ONNX lacks: mend it there"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress lines, warnings and log records from the user's screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
