"""The exported graph: PyTorch's answers in ONNX Runtime and in OpenVINO, and nothing of the machine."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pictorch.bundle.agreement import compare
from pictorch.bundle.bundle import MODEL
from pictorch.bundle.onnx_guard import float_weights
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.exporting.export import export
from pictorch.exporting.onnx_graph import OPSET, ClassProbabilities, onnx_bytes
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, build_network
from pictorch.recipe import ModelSection

CLASSES = 5


def network(name="simple_net", stored=8, image=8):
    torch.manual_seed(0)
    classifier = build_network(ModelSection(name=name, init="kaiming"), CLASSES, InputSpec(stored, image))
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            module.momentum = 1.0
    with torch.inference_mode():  # gives batch norm statistics that are not those of a fresh network
        classifier.train()(torch.from_numpy(images(16, stored)))
    return ClassProbabilities(classifier).eval()


def images(count, size):
    """Noise around a colour of each image's own, so that deep networks tell them apart."""
    draw = np.random.default_rng(count)
    noise, colours = draw.integers(0, 256, (count, size, size, 3)), draw.integers(0, 256, (count, 1, 1, 3))
    return ((noise + 2 * colours) // 3).astype(np.uint8)


def by_openvino(graph, batch):
    """Returns probabilities in float32, the precision of the bundle, on CPUs that have bf16 too."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    whole, settings = core.read_model(io.BytesIO(graph)), {"INFERENCE_PRECISION_HINT": "f32"}
    with ThreadPoolExecutor(1) as thread:  # whose signal stack it changes
        model = thread.submit(core.compile_model, whole, "CPU", settings).result()
    return model(batch)[0]


@pytest.fixture(scope="module")
def graph():
    return onnx_bytes(network(), InputSpec(8, 8))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name != "cifar10_cnn" else [])
        for name in sorted(NETWORKS)
    ],
)
def exported(request):
    """The name of a network, with enlargement inside, PyTorch's answers to six images, and its graph."""
    probabilities = network(request.param, stored=20, image=32)
    with torch.inference_mode():
        expected = probabilities(torch.from_numpy(images(6, 20))).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3, "the images must differ in their answers"
    return request.param, probabilities, expected, onnx_bytes(probabilities, InputSpec(20, 32))


def test_every_network_answers_as_pytorch_does_and_keeps_its_weights(exported):
    name, probabilities, expected, graph = exported
    model = OnnxModel(graph, name=name, size=20, num_classes=CLASSES)
    agreement = compare(expected, model.probabilities(images(6, 20)))
    assert agreement.ok, agreement.in_words()
    kept, state = float_weights(graph, name), probabilities.state_dict()
    for each in [each for each in state if not each.endswith("num_batches_tracked")]:
        np.testing.assert_array_equal(kept[each], state[each].numpy(), err_msg=each)


@pytest.mark.slow
def test_every_network_gives_the_same_answers_in_a_runtime_that_is_not_ours(exported):
    _, _, expected, graph = exported
    agreement = compare(expected, by_openvino(graph, images(6, 20)))
    assert agreement.ok, agreement.in_words()


@pytest.mark.slow
def test_golden_samples_get_the_same_answers_there(trained, tmp_path):
    bundle = export(trained, out=tmp_path / "bundle")
    samples, promised = bundle.golden()
    agreement = compare(promised, by_openvino(bundle.files[MODEL], samples))
    assert agreement.ok, agreement.in_words()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_any_number_of_images_goes_through(graph, count):
    model = OnnxModel(graph, name="graph", size=8, num_classes=CLASSES)
    probabilities = model.probabilities(images(count, 8))
    assert probabilities.shape == (count, CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_operator_set_is_the_recorded_one_and_the_model_is_valid(graph):
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.graph.node[-1].op_type == "Softmax"


def test_nothing_tells_of_the_exporting_machine(graph):
    model = onnx.load_from_string(graph)
    assert model.producer_name == "pictorch"
    for part in [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]:
        assert list(part.metadata_props) == []
        assert part.doc_string == ""
    for word in (b"torch.", b".py", b"aten.", b"site-packages", torch.__version__.encode()):
        assert word not in graph.replace(b"pictorch", b""), word


@pytest.mark.slow
def test_equal_networks_give_equal_bytes_and_nothing_is_printed(graph, capfd):
    assert onnx_bytes(network(), InputSpec(8, 8)) == graph
    assert capfd.readouterr() == ("", "")
