"""A classifier as an ONNX graph on the CPU: uint8 images in, probabilities out, without torch."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.bundle.onnx_guard import check_onnx
from pictorch.bundle.source import AGAIN
from pictorch.errors import CheckpointError

INPUT_NAME, OUTPUT_NAME = "images", "probabilities"

Signature = tuple[str, str, list[int | str]]

_SILENT = 4


class OnnxModel:
    """ONNX Runtime over the bytes of one graph, whose promise is checked on opening.

    The promise: input `images` uint8 (N, size, size, 3), output `probabilities` float32
    (N, num_classes), any N. Raises CheckpointError where the graph is anything else; `name` is
    what messages call it. `threads` None means one for each CPU that this process may use.
    """

    def __init__(
        self, model: bytes, *, name: str, size: int, num_classes: int, threads: int | None = None
    ) -> None:
        check_onnx(model, name)
        self._name = name
        self._num_classes = num_classes
        try:
            self._session = cpu_session(model, threads)
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise CheckpointError(f"{name} cannot be loaded ({_first_line(error)}); {AGAIN}") from None
        self._check_promise(size)

    def probabilities(self, images: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
        """Returns float32 (N, num_classes) for uint8 (N, size, size, 3), `batch_size` images a time."""
        parts = [np.empty((0, self._num_classes), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = np.ascontiguousarray(images[start : start + batch_size])
            try:
                (part,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: batch})
            except Exception as error:  # ONNX Runtime's errors share no narrower class
                raise CheckpointError(
                    f"{self._name} fails on images ({_first_line(error)}); {AGAIN}"
                ) from None
            if part.shape != (len(batch), self._num_classes):
                raise CheckpointError(
                    f"{self._name} gives {part.shape} for {len(batch)} images and {self._num_classes} "
                    f"classes; {AGAIN}"
                )
            parts.append(part)
        return np.concatenate(parts)

    def _check_promise(self, size: int) -> None:
        inputs = [_signature(value) for value in self._session.get_inputs()]
        outputs = [_signature(value) for value in self._session.get_outputs()]
        promised_inputs: list[Signature] = [(INPUT_NAME, "tensor(uint8)", ["N", size, size, 3])]
        promised_outputs: list[Signature] = [(OUTPUT_NAME, "tensor(float)", ["N", self._num_classes])]
        for kind, found, promised in (
            ("takes", inputs, promised_inputs),
            ("gives", outputs, promised_outputs),
        ):
            if found != promised:
                raise CheckpointError(
                    f"{self._name} {kind} {_in_words(found)}, but its bundle promises "
                    f"{_in_words(promised)}; {AGAIN}"
                )


def cpu_session(model: bytes, threads: int | None = None) -> Any:
    """Returns ONNX Runtime's session for a graph on the CPU, silent; raises what ONNX Runtime raises.

    `threads` None means one for each CPU that this process may use.
    """
    # Without this, importing it writes a device number into the user's cache.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _allowed_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _signature(value: Any) -> Signature:
    """Returns (name, type, shape), a dynamic first dimension being called N."""
    shape = list(value.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = "N"
    return value.name, value.type, shape


def _in_words(signatures: list[Signature]) -> str:
    return " and ".join(f"{name} {kind} {shape}" for name, kind, shape in signatures)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:100] or type(error).__name__


def _allowed_cpus() -> int:
    """Naming the number keeps ONNX Runtime from pinning threads to CPUs that a container forbids."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
