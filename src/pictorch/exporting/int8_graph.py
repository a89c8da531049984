"""A float graph as one of 8-bit integers, by ONNX Runtime's static quantisation.

Weights are int8 with a scale for each output channel, in 7 of the 8 bits: without VNNI an x86 CPU adds
pairs of products in 16 bits, which 8-bit weights overflow, and answers would differ from CPU to CPU.
Activations are uint8, as VNNI's product wants them, with a scale for each tensor, which calibration images
settle (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018). The file holds pairs of QuantizeLinear and DequantizeLinear around ordinary
operators, so that any runtime can read it.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pictorch.bundle.onnx_model import INPUT_NAME

# How the range of an activation is chosen: all that was seen, all but a ten-thousandth, or the least loss
# of information; the next where the one before costs too much accuracy.
CALIBRATIONS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}

_PERCENTILE = 99.99
_BATCH_SIZE = 32
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_OPERATORS = [
    *sorted(_WEIGHTED),
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Pad"),
    *("Relu", "Reshape", "Squeeze", "Transpose"),
]


def folded(graph: bytes) -> onnx.ModelProto:
    """Returns the graph with batch norms folded into convolutions, inner shapes known, each node named."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        given.write_bytes(graph)
        quant_pre_process(given, made, skip_symbolic_shape=True)
        model = onnx.load(made)
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{place}"
    return model


def int8_bytes(model: onnx.ModelProto, images: NDArray[np.uint8], calibration: str) -> bytes:
    """Returns the ONNX file of a folded graph with 8-bit weights and activations, equal for equal inputs.

    What stands before the first layer with weights and behind the last one stays in float: normalisation,
    enlargement, views, softmax; so do the answers of matrix products, the logits among them. `images`, uint8
    (n, size, size, 3), are those that ranges are taken from, by the method `calibration`.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # Some calibrations print what they do.
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        onnx.save(model, given)
        quantize_static(
            given,
            made,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_outside(model.graph.node),
            calibrate_method=CalibrationMethod[CALIBRATIONS[calibration]],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
                "CalibPercentile": _PERCENTILE,
                "CalibStridedMinMax": 1,  # one batch of the reader at a time, whatever the method
                # Its correction of weights whose bias would overflow fails on matrix products.
                "QDQDisableWeightAdjustForInt32Bias": any(n.op_type == "MatMul" for n in model.graph.node),
            },
        )
        quantized = onnx.load(made)
    _strip(quantized)
    serialized: bytes = quantized.SerializeToString(deterministic=True)
    return serialized


def _outside(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Returns the names of the nodes that no layer with weights stands before, or none behind."""
    behind, before = set[str](), set[str]()
    for node in nodes:
        if node.op_type in _WEIGHTED or behind.intersection(node.input):
            behind.update(node.output)
    outside = []
    for node in reversed(nodes):
        is_before = node.op_type in _WEIGHTED or bool(before.intersection(node.output))
        if is_before:
            before.update(node.input)
        if not is_before or not behind.intersection(node.output):
            outside.append(node.name)
    return outside


def _reader(images: NDArray[np.uint8]) -> Any:
    """Returns the images as ONNX Runtime reads them for calibration, a batch at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = [images[at : at + _BATCH_SIZE] for at in range(0, len(images), _BATCH_SIZE)]
            self.waiting = iter(self.batches)

        def __len__(self) -> int:
            return len(self.batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.waiting = iter(self.batches[start_index:end_index])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.waiting, None)
            return None if batch is None else {INPUT_NAME: np.ascontiguousarray(batch)}

    return Reader()


def _strip(model: onnx.ModelProto) -> None:
    """Removes what tells of the tools: versions, notes, inner shapes, sets of operators that nothing uses."""
    model.producer_name = "pictorch"
    for name in ("producer_version", "metadata_props", "doc_string"):
        model.ClearField(name)
    standard = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    model.graph.ClearField("value_info")
