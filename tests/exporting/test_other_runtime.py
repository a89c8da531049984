"""The exported graph in a runtime that is not ours: OpenVINO gives the answers that the bundle promises."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pictorch.bundle.agreement import compare
from pictorch.bundle.bundle import MODEL
from pictorch.exporting.export import export
from pictorch.exporting.onnx_graph import ClassProbabilities, onnx_bytes
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, build_network
from pictorch.recipe import ModelSection

CLASSES = 5


def by_openvino(graph, images):
    """Returns probabilities in float32, the precision of the bundle, on CPUs that have bf16 too."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    whole, settings = core.read_model(io.BytesIO(graph)), {"INFERENCE_PRECISION_HINT": "f32"}
    with ThreadPoolExecutor(1) as thread:  # whose signal stack it changes
        model = thread.submit(core.compile_model, whole, "CPU", settings).result()
    return model(images)[0]


@pytest.mark.slow
def test_golden_samples_get_the_same_answers(trained, tmp_path):
    bundle = export(trained, out=tmp_path / "bundle")
    images, expected = bundle.golden()
    agreement = compare(expected, by_openvino(bundle.files[MODEL], images))
    assert agreement.ok, agreement.in_words()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_gives_the_same_answers(name):
    """With enlargement inside the graph, and weights that are drawn."""
    torch.manual_seed(0)
    spec = InputSpec(20, 32)
    network = ClassProbabilities(build_network(ModelSection(name=name, init="kaiming"), CLASSES, spec)).eval()
    images = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    agreement = compare(expected, by_openvino(onnx_bytes(network, spec), images))
    assert agreement.ok, agreement.in_words()
