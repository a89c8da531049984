"""Reads pickles that hold NumPy arrays in plain containers, and executes nothing of them.

CIFAR-10's own files are pickles. The globals that rebuild an array are answered by records of this
module, which only keep what the pickle says; every other global is refused by its name.
"""

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch.errors import DataError

_DTYPE_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class _DtypeRecord:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        self.code = _text(code)
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = _text(state[1])

    def dtype(self) -> np.dtype[Any]:
        if self.code not in _DTYPE_CODES or self.byte_order not in tuple("<>|="):
            raise pickle.UnpicklingError(f"array of type {self.code!r}")
        return np.dtype(self.byte_order + self.code)


class _ArrayRecord:
    """Stands in for numpy's _reconstruct; the state that follows holds the array."""

    def __init__(self, *_placeholder: object) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, data = state
        self.array = _array(data, dtype, shape, "F" if is_fortran else "C")


class _BufferRecord(_ArrayRecord):
    """Stands in for numpy's _frombuffer, the form of pickle protocol 5."""

    def __init__(self, data: bytes, dtype: Any, shape: tuple[int, ...], order: str) -> None:
        self.array = _array(data, dtype, shape, _text(order))


class _ArrayType:
    """Stands in for numpy.ndarray, which a pickle only names."""

    def __init__(self) -> None:
        raise pickle.UnpicklingError("a bare numpy.ndarray")


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _DtypeRecord,
    ("numpy.core.multiarray", "_reconstruct"): _ArrayRecord,
    ("numpy._core.multiarray", "_reconstruct"): _ArrayRecord,
    ("numpy.core.numeric", "_frombuffer"): _BufferRecord,
    ("numpy._core.numeric", "_frombuffer"): _BufferRecord,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        stand_in = _STAND_INS.get((module_name, global_name))
        if stand_in is None:
            raise DataError(
                f"the pickle asks for {module_name}.{global_name}, but only NumPy arrays are read "
                "(nothing was run)"
            )
        return stand_in


def load_arrays(data: bytes, name: str) -> dict[str, Any]:
    """Returns the dict in a pickle, with text keys and arrays (read-only) as its values where it has them.

    Strings that Python 2 wrote come back as bytes. Raises DataError with `name` for a damaged
    pickle, for one that holds anything else than a dict, and for any global but NumPy's own.
    """
    try:
        _check_sizes(data)
        record = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(record, dict):
            raise DataError("the pickle holds no dict")
        return {
            _text(key): value.array if isinstance(value, _ArrayRecord) else value
            for key, value in record.items()
        }
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        reason = " ".join(str(error).split())[:60] or type(error).__name__
        raise DataError(f"{name}: damaged or truncated pickle of {len(data):,} bytes ({reason})") from None


def _check_sizes(data: bytes) -> None:
    """Raises where the unpickler would take memory for bytes or places in its memo that are not there."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
            raise pickle.UnpicklingError(f"place {argument:,} of the memo after {number:,} steps")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(dtype, _DtypeRecord) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array that is not plain numbers")
    kind = dtype.dtype()
    if not all(isinstance(length, int) for length in shape):  # a tuple times a number takes memory
        raise pickle.UnpicklingError("an array whose shape is no numbers")
    if math.prod(shape) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"{len(data)} bytes for an array of shape {shape}")
    return np.frombuffer(bytes(data), kind).reshape(shape, order="F" if order == "F" else "C")


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
