import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pictorch.bundle.onnx_guard import check_onnx, float_weights
from pictorch.errors import CheckpointError
from tiny_bundle import tiny_model

WHOLE = tiny_model().SerializeToString()


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_onnx(model.SerializeToString(), "model.onnx")
    return str(caught.value)


def answer(data: bytes) -> str:
    try:
        check_onnx(data, "model.onnx")
    except CheckpointError as error:
        return str(error)
    return "passes"


def external(tensor: TensorProto) -> TensorProto:
    onnx.external_data_helper.set_external_data(tensor, "../../secret")
    tensor.ClearField("raw_data")
    return tensor


def test_plain_classifier_passes():
    check_onnx(WHOLE, "model.onnx")


def test_external_weights_are_refused():
    model = tiny_model()
    external(model.graph.initializer[0])
    assert "external data" in refusal(model)


def test_external_place_without_the_flag_is_refused():
    model = tiny_model()
    external(model.graph.initializer[0])
    model.graph.initializer[0].ClearField("data_location")
    assert "external data" in refusal(model)


@pytest.mark.parametrize("many", [False, True])
def test_external_tensor_in_an_attribute_is_refused(many):
    tensor = external(numpy_helper.from_array(np.ones(4, np.float32), "t"))
    model = tiny_model()
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=[tensor] if many else tensor))
    assert "external data" in refusal(model)


def test_foreign_operators_are_refused():
    model = tiny_model()
    model.graph.node[0].domain = "com.example"
    assert "com.example" in refusal(model)


def test_standard_domain_may_be_spelled_out():
    model = tiny_model()
    model.graph.node[0].domain = "ai.onnx"
    check_onnx(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("many", [False, True])
def test_sub_graphs_are_refused(many):
    inner = helper.make_graph([], "inner", [], [])
    model = tiny_model()
    node = helper.make_node("If", ["x"], ["y"], then_branch=[inner] if many else inner)
    model.graph.node.append(node)
    assert "sub-graphs" in refusal(model)


def test_functions_are_refused():
    model = tiny_model()
    function = helper.make_function("", "f", ["x"], ["y"], [], [helper.make_opsetid("", 20)])
    model.functions.append(function)
    assert "functions" in refusal(model)


def test_training_graphs_are_refused():
    model = tiny_model()
    model.training_info.add().algorithm.name = "loop"
    assert "training graphs" in refusal(model)


def test_sparse_weights_are_refused():
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model = tiny_model()
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    assert "sparse" in refusal(model)


def test_second_graph_field_is_walked_too():
    """Protocol Buffers merges a field that comes twice; what hides in the second part counts."""
    hidden = tiny_model()
    external(hidden.graph.initializer[0])
    with pytest.raises(CheckpointError, match="external data"):
        check_onnx(WHOLE + hidden.SerializeToString(), "model.onnx")


def test_endless_lists_of_fields_are_refused(monkeypatch):
    monkeypatch.setattr("pictorch.bundle.onnx_guard._MOST_FIELDS", 1000)
    check_onnx(b"\x08\x01" * 999, "model.onnx")
    with pytest.raises(CheckpointError, match="more than 1,000 fields"):
        check_onnx(b"\x08\x01" * 1000, "model.onnx")


@settings(deadline=None)
@given(st.integers(1, len(WHOLE) - 1))
def test_cut_off_model_is_refused_or_harmless(length):
    said = answer(WHOLE[:length])
    assert said == "passes" or said.startswith("model.onnx is not an ONNX model; ")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_an_answer(data):
    assert "\n" not in answer(data)


def test_float_weights_are_those_of_the_onnx_package():
    model = tiny_model()
    for name, shape in (("scalar", ()), ("empty", (0, 3)), ("kernel", (2, 3, 5, 5))):
        array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    expected = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found = float_weights(model.SerializeToString(), "model.onnx")
    assert found.keys() == expected.keys() - {"axes"}, "integers are no weights"
    for name, array in found.items():
        assert array.dtype == np.float32
        assert array.shape == expected[name].shape
        np.testing.assert_array_equal(array, expected[name])


def test_weights_of_a_refused_model_are_not_read():
    model = tiny_model()
    external(model.graph.initializer[0])
    with pytest.raises(CheckpointError, match="external data"):
        float_weights(model.SerializeToString(), "model.onnx")


def test_weights_of_another_size_than_they_say_are_refused():
    model = tiny_model()
    model.graph.initializer[0].dims.append(2)
    with pytest.raises(CheckpointError, match=r"model\.onnx is not an ONNX model"):
        float_weights(model.SerializeToString(), "model.onnx")
