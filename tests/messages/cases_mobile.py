"""A network that becomes no program for phones; what ExecuTorch would say of it is put in its place."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from messages.case import Case, instead
from messages.material import run
from pictorch.exporting import mobile


@contextmanager
def lacking_operator() -> Iterator[None]:
    """Refuses the network as ExecuTorch does, which need not be installed; tests/exporting has a real one."""

    def refuse(*_: object) -> None:
        raise RuntimeError("Operator torch._ops.aten._linalg_det.default is not in Core ATen opset")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "executorch", ModuleType("executorch"))
        patch.setattr(mobile, "_lowered", refuse)
        yield


# fmt: off
CASES = [
    Case("network that ExecuTorch lacks", "export run --to mobile -q", 2, "_linalg_det", instead("export run --to onnx -q", says="use `--to onnx`"), run, lacking_operator, slow=True),
]
# fmt: on
