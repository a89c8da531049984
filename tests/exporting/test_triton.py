"""The model repository: its configuration as Triton's own message, beside the ONNX file that it speaks of."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from onnx import TensorProto, ValueInfoProto
from tritonclient.grpc import model_config_pb2

from pictorch.bundle import open_bundle
from pictorch.bundle.agreement import Agreement, compare
from pictorch.errors import GateError
from pictorch.exporting import forms
from pictorch.exporting.export import export
from pictorch.exporting.forms import FormSource
from pictorch.run_folder import RunFolder
from tiny_bundle import CLASSES, make_bundle

TYPES = {"TYPE_UINT8": TensorProto.UINT8, "TYPE_FP32": TensorProto.FLOAT}


def configuration(model: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def signature(value: ValueInfoProto) -> tuple[str, int, list[int]]:
    """Returns name, type and shape of a tensor, without its first dimension, which has to be open."""
    tensor = value.type.tensor_type
    batch, *dims = tensor.shape.dim
    assert not batch.HasField("dim_value")
    return value.name, tensor.elem_type, [dim.dim_value for dim in dims]


def described(
    tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput,
) -> tuple[str, int, list[int]]:
    return tensor.name, TYPES[model_config_pb2.DataType.Name(tensor.data_type)], list(tensor.dims)


def agrees(repository: Path) -> None:
    """Compares every name, type and dimension of the configuration with the ONNX file."""
    (model,) = [path for path in repository.iterdir() if path.is_dir()]
    config, graph = configuration(model), onnx.load(model / "1/model.onnx").graph
    assert config.name == model.name
    assert config.platform == "onnxruntime_onnx"
    assert [*map(described, config.input)] == [*map(signature, graph.input)]
    assert [*map(described, config.output)] == [*map(signature, graph.output)]
    assert config.max_batch_size >= max(config.dynamic_batching.preferred_batch_size) > 1
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    assert config.version_policy.latest.num_versions == 1
    assert [path.name for path in model.iterdir() if path.is_dir()] == ["1"]
    for output in config.output:
        assert len((model / output.label_filename).read_text().splitlines()) == output.dims[0]


def test_every_name_type_and_dimension_is_that_of_the_onnx_file() -> None:
    bundle = make_bundle(Path("bundle"))
    form = export("bundle", to="triton")
    agrees(form.path)
    assert form.path == Path("bundle-triton")
    assert set(form.files) == {
        "colors/1/model.onnx", "colors/config.pbtxt", "colors/labels.txt", "pictorch.json"
    }  # fmt: skip
    assert (form.path / "colors/1/model.onnx").read_bytes() == bundle.files["model.onnx"]
    assert (form.path / "colors/labels.txt").read_text().splitlines() == list(CLASSES)
    assert f"{Path.cwd()}/bundle-triton:/models:ro" in form.next_command


@pytest.mark.parametrize(
    ("name", "folder"),
    [("cifar10-cnn", "cifar10-cnn"), ("my net/2 {x} 鸟", "my-net-2-x-"), ("../..", "-.."), ("..", "model")],
)
def test_the_name_is_one_that_addresses_and_folders_can_have(name: str, folder: str) -> None:
    make_bundle(Path("bundle"), recipe={"name": name})
    form = export("bundle", to="triton", out="models")
    agrees(Path("models"))
    assert [path.name for path in Path("models").iterdir() if path.is_dir()] == [folder]
    assert form.facts["model"] == folder


def test_a_label_is_a_line() -> None:
    make_bundle(Path("bundle"), class_names=("a\nb", "蓝", "c d"))
    export("bundle", to="triton", out="models")
    assert Path("models/colors/labels.txt").read_text().splitlines() == ["a\\nb", "蓝", "c d"]
    agrees(Path("models"))


def answers_as_the_bundle(repository: Path, bundle: str | Path, source: FormSource) -> Agreement:
    """Asks the file in the folder as Triton would: by the names of the configuration, 8 images at a time."""
    (model,) = [path for path in repository.iterdir() if path.is_dir()]
    config = configuration(model)
    session = onnxruntime.InferenceSession(str(model / "1/model.onnx"))
    found = [
        session.run([config.output[0].name], {config.input[0].name: images[start : start + 8]})[0]
        for images in source.images()
        for start in range(0, len(images), 8)
    ]
    opened = open_bundle(bundle).model()
    expected = np.concatenate([opened.probabilities(images) for images in source.images()])
    return compare(expected, np.concatenate(found))


def test_a_thousand_images_are_answered_as_by_the_bundle() -> None:
    bundle = make_bundle(Path("bundle"))
    form = export("bundle", to="triton")
    assert (form.agreement.n, form.agreement.top1_differences) == (1000, 0)
    agreement = answers_as_the_bundle(form.path, "bundle", FormSource(bundle, lambda line: None))
    assert (agreement.n, agreement.ok) == (1000, True)


@pytest.mark.slow
def test_the_model_of_a_run(run: RunFolder) -> None:
    form = export(run, to="triton")
    assert form.path == run.path / "exported" / "triton"
    agrees(form.path)
    bundle = export(run)
    agreement = answers_as_the_bundle(form.path, bundle.path, FormSource(bundle, lambda line: None))
    assert (agreement.n, agreement.ok) == (1000, True)


def test_other_answers_leave_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(Path("bundle"))
    monkeypatch.setattr(forms, "compare", lambda *_: Agreement(1000, 0.5, 3))
    with pytest.raises(GateError, match="the form triton gives other answers than bundle on 1,000 images"):
        export("bundle", to="triton")
    assert not Path("bundle-triton").exists()
