import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from pictorch.bundle.onnx_model import OnnxModel
from pictorch.errors import CheckpointError
from tiny_bundle import SIZE, tiny_model

IMAGES = np.random.default_rng(1).integers(0, 256, (37, SIZE, SIZE, 3), np.uint8)


def opened(model=None, size=SIZE, num_classes=3, threads=None):
    data = (model or tiny_model()).SerializeToString()
    return OnnxModel(data, name="model.onnx", size=size, num_classes=num_classes, threads=threads)


@pytest.fixture(scope="module")
def model():
    return opened()


def test_probabilities_are_float32_and_sum_to_one(model):
    probabilities = model.probabilities(IMAGES)
    assert probabilities.shape == (37, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@settings(deadline=None)
@given(batch_size=st.integers(1, 50), count=st.integers(0, 37))
def test_every_image_is_answered_alike_in_any_batch(model, batch_size, count):
    whole = model.probabilities(IMAGES)
    np.testing.assert_allclose(model.probabilities(IMAGES[:count], batch_size), whole[:count], atol=1e-6)


def test_threads_change_no_answer(model):
    alone = opened(threads=1).probabilities(IMAGES)
    np.testing.assert_allclose(alone, model.probabilities(IMAGES), atol=1e-6)


def test_number_of_classes_must_be_as_promised():
    with pytest.raises(CheckpointError, match="promises"):
        opened(num_classes=4)


def test_size_must_be_as_promised():
    with pytest.raises(CheckpointError, match="promises"):
        opened(size=SIZE + 1)


def test_input_type_must_be_as_promised():
    model = tiny_model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(CheckpointError, match=r"tensor\(float\).* promises images tensor\(uint8\)"):
        opened(model)


def test_fixed_batch_is_refused():
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(CheckpointError, match="promises"):
        opened(model)


def test_second_input_is_refused():
    model = tiny_model()
    second = model.graph.input.add()
    second.CopyFrom(model.graph.input[0])
    second.name = "more"
    with pytest.raises(CheckpointError, match="and more"):
        opened(model)


def test_unknown_operator_is_one_line_and_nothing_else_is_printed(capfd):
    model = tiny_model()
    model.graph.node[0].op_type = "Conjure"
    with pytest.raises(CheckpointError) as caught:
        opened(model)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_model_is_refused():
    with pytest.raises(CheckpointError, match="not an ONNX model"):
        OnnxModel(b"no model at all", name="model.onnx", size=SIZE, num_classes=3)


def test_failure_while_running_is_refused_in_one_line():
    model = tiny_model()
    axes = next(tensor for tensor in model.graph.initializer if tensor.name == "axes")
    axes.raw_data = np.array([0, 1], np.int64).tobytes()
    with pytest.raises(CheckpointError) as caught:
        opened(model).probabilities(IMAGES)
    assert "\n" not in str(caught.value)
