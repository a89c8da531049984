"""load_arrays: reads what NumPy wrote, in any age, and runs nothing."""

import os
import pickle
import struct
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_data import noise, python2_pickle
from pictorch.datasets.array_pickle import load_arrays
from pictorch.errors import DataError


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8", "f4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_python_3(protocol: int, dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4).astype(dtype), order=order)
    record = load_arrays(pickle.dumps({"data": array, "labels": [1, 2]}, protocol), "x")
    assert record["labels"] == [1, 2]
    assert record["data"].dtype == array.dtype
    assert np.array_equal(record["data"], array)


def test_arrays_of_python_2() -> None:
    array = noise(4, 5)[..., 0]
    data = python2_pickle({b"data": array, b"labels": [3, -1], b"batch_label": b"one of 5"})
    assert np.array_equal(pickle.loads(data, encoding="bytes")[b"data"], array), "the pickle itself is right"
    record = load_arrays(data, "x")
    assert np.array_equal(record["data"], array)
    assert (record["labels"], record["batch_label"]) == ([3, -1], b"one of 5")


def test_old_and_new_module_names() -> None:
    data = pickle.dumps({"data": np.arange(3, dtype=np.uint8)}, 3)
    assert b"numpy._core.multiarray" in data
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert load_arrays(old, "x")["data"].tolist() == load_arrays(data, "x")["data"].tolist() == [0, 1, 2]


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "shown_name"),
    [(os.mkdir, "posix.mkdir"), (eval, ".eval"), (np.load, "numpy.load"), (np.fromfile, "numpy.fromfile")],
)
def test_every_other_global_is_refused_by_name_and_not_run(
    function: Any, shown_name: str, protocol: int, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    argument = f"__import__('os').mkdir({str(canary)!r})" if function is eval else str(canary)
    data = pickle.dumps({"data": Attack(function, argument)}, protocol)
    with pytest.raises(DataError, match=r"^batch: .*asks for .*" + shown_name) as caught:
        load_arrays(data, "batch")
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    if function in (os.mkdir, eval):
        pickle.loads(data)
        assert canary.exists(), "the attack works on the plain unpickler"


def test_harmless_classes_are_refused_too() -> None:
    with pytest.raises(DataError, match=r"collections\.OrderedDict"):
        load_arrays(pickle.dumps({"data": OrderedDict()}), "x")


def test_stand_ins_cannot_be_changed_from_a_pickle() -> None:
    """BUILD on a global sets its attributes in the plain unpickler."""
    poison = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(N}U\x05arrayK\x07stb."
    with pytest.raises(DataError):
        load_arrays(poison, "x")
    assert load_arrays(python2_pickle({b"data": noise(2, 2)[..., 0]}), "x")["data"].shape == (2, 2)


def test_object_arrays_and_lying_shapes_are_refused() -> None:
    with pytest.raises(DataError):
        load_arrays(pickle.dumps({"data": np.array([object], dtype=object)}), "x")
    data = python2_pickle({b"data": noise(4, 5)[..., 0]})
    lying = data.replace(struct.pack("<i", 5) + b"\x86", struct.pack("<i", 50) + b"\x86")
    with pytest.raises(DataError, match="20 bytes for an array of shape"):
        load_arrays(lying, "x")


def test_a_shape_of_other_things_is_not_multiplied() -> None:
    whole = pickle.dumps({"data": noise(3, 3)}, 5)
    assert whole[149:154] == b"bK\x03K\x03"
    with pytest.raises(DataError, match="shape is no numbers"):
        load_arrays(whole[:149] + b"J" + whole[150:], "x")


def test_anything_but_a_dict_is_refused() -> None:
    with pytest.raises(DataError, match="no dict"):
        load_arrays(pickle.dumps([1, 2]), "x")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (b"\x80\x02}r\xff\xff\xff\x0f.", "place 268,435,455 of the memo"),
        (b"\x80\x02}p268435455\n.", "place 268,435,455 of the memo"),
        (b"\x80\x05\x96\x00\x00\x00\x80\x00\x00\x00\x00.", "expected 2147483648 bytes in a bytearray8"),
    ],
)
def test_no_memory_is_taken_for_what_is_not_there(changed: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_arrays(changed, "x")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_pickles_give_data_errors_only(data: st.DataObject) -> None:
    whole = python2_pickle({b"data": noise(3, 3)[..., 0], b"labels": [1, 2, 3]})
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DataError, match=r"^x: "):
        load_arrays(whole[:length], "x")
    changed = bytearray(whole)
    changed[length] ^= data.draw(st.integers(1, 255))
    with suppress(DataError):
        assert isinstance(load_arrays(bytes(changed), "x"), dict)
