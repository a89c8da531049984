"""The lines of a network or a loss that wait for the device."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_OWN, _TORCH = Path(__file__).parents[1], Path(torch.__file__).parent


class _Places(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the lines outside torch and pictorch from which `.item()` and what ends in it are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.places.update(_calling_line(sys._getframe(1)))
        return func(*args, **(kwargs or {}))


def place_of_waits(step: Callable[[], object]) -> str | None:
    """Returns the line, as 'mine.py, line 12', from which a step calls `.item()` most; None for none."""
    with _Places() as found:
        step()
    return found.places.most_common(1)[0][0] if found.places else None


def _calling_line(frame: FrameType | None) -> list[str]:
    """Returns the innermost line that is not torch's, nothing where it is one of pictorch."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_file() and not file.is_relative_to(_TORCH):
            below = file.is_relative_to(Path.cwd())
            near = file.relative_to(Path.cwd()) if below else Path(*file.parts[-2:])
            return [] if file.is_relative_to(_OWN) else [f"{near}, line {frame.f_lineno}"]
        frame = frame.f_back
    return []
