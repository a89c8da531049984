"""A bundle that needs no training: three colours, told apart by the mean of each channel."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pictorch import durable
from pictorch.bundle.bundle import CARD, GOLDEN, MODEL, Bundle, BundleFacts, golden_bytes, write_bundle
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.images import InputSpec

SIZE = 8
CLASSES = ("blue", "green", "red")
COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def tiny_model(size: int = SIZE, num_classes: int = len(CLASSES)) -> onnx.ModelProto:
    """Returns a graph whose class number is 2 minus the brightest channel's."""
    weights = np.zeros((3, num_classes), np.float32)
    for channel in range(3):
        weights[channel, (2 - channel) % num_classes] = 0.03
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return _model(nodes, {"weights": weights, "axes": np.array([1, 2], np.int64)}, size, num_classes)


def conv_model() -> onnx.ModelProto:
    """Returns the same answers from a convolution with a batch norm, a pool and a layer of weights."""
    eye = np.eye(3, dtype=np.float32)
    weights = {
        "scale": np.float32([1 / 255]),
        "kernel": eye[:, :, None, None],
        "gamma": np.float32([2, 0.5, 1]),
        "beta": np.float32([0.1, 0.2, 0.3]),
        "mean": np.zeros(3, np.float32),
        "variance": np.ones(3, np.float32),
        "matrix": 8 * (eye / np.float32([2, 0.5, 1]))[:, ::-1],
        "bias": -8 * np.float32([0.3, 0.4, 0.05]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["pixels_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["pixels_nchw", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "kernel"], ["features"]),
        helper.make_node("BatchNormalization", ["features", "gamma", "beta", "mean", "variance"], ["normed"]),
        helper.make_node("Relu", ["normed"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return _model(nodes, weights)


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], size: int = SIZE, num_classes: int = 3
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", num_classes])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def color_photos(folder: Path, each: int = 20) -> Path:
    """Writes noisy images of the three colours, a folder for each."""
    random = np.random.default_rng(0)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.clip(random.normal(color, 40, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def color_bundle(target: Path, photos: Path, **data: Any) -> Bundle:
    """Writes the bundle of conv_model, whose recipe divides these photos."""
    recipe = {"name": "colors", "data": {"source": photos.name, "val_fraction": 0.2, **data}}
    return make_bundle(target, tiny_files(conv_model()), recipe={**recipe, "model": {"name": "colors"}})


def color_image(name: str, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    return np.full((height, width, 3), COLORS[name], np.uint8)


def tiny_facts(**changes: Any) -> BundleFacts:
    facts = {
        "class_names": CLASSES,
        "input": InputSpec(stored_size=SIZE, image_size=SIZE),
        "recipe": {"name": "colors"},
        "data_fingerprint": "ab" * 32,
        "checkpoint": "best",
        "metrics": {"test_openings": 0},
        "licence": "not stated",
        "opset": 20,
    }
    return BundleFacts(**{**facts, **changes})


def tiny_files(graph: onnx.ModelProto | None = None) -> dict[str, bytes]:
    model = (graph or tiny_model()).SerializeToString()
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    opened = OnnxModel(model, name="model.onnx", size=SIZE, num_classes=len(CLASSES), threads=1)
    golden = golden_bytes(images, opened.probabilities(images))
    return {MODEL: model, GOLDEN: golden, CARD: b"# colors\n"}


def make_bundle(target: Path, files: dict[str, bytes] | None = None, **changes: Any) -> Bundle:
    """Writes the bundle; `files` and `changes` make sealed bundles that are wrong inside."""
    return write_bundle(target, tiny_facts(**changes), {**tiny_files(), **(files or {})})


def reseal(folder: Path, **changes: Any) -> None:
    """Changes bundle.json and gives it the hash of itself anew, as an attacker would."""
    path = folder / "bundle.json"
    record = {**json.loads(path.read_bytes()), **changes}
    durable.seal_manifest(record)
    path.write_bytes(durable.json_bytes(record))
