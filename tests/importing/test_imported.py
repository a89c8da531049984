"""Importing: the file of another framework answers from a bundle as it does itself."""

import json
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

import pictorch
from foreign_model import CLASSES, SIDE, foreign_model, foreign_weights
from made_data import noise
from pictorch import cli
from pictorch.datasets import load_splits
from pictorch.errors import CheckpointError
from pictorch.images import decode_image
from pictorch.importing import imported as imported_module
from pictorch.importing.imported import import_model
from pictorch.importing.made_images import made_images
from pictorch.recipe import DataSection
from pictorch.softmax import probabilities
from served_process import in_process
from tiny_bundle import color_photos

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGES = np.stack([noise(SIDE, SIDE, seed) for seed in range(20)])


@pytest.fixture(autouse=True)
def few_images(request, monkeypatch):
    """The gate compares a thousand images; where no other tool has part, a few show the same."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(imported_module, "FEWEST_IMAGES", 60)


def written(model, path="foreign.onnx"):
    Path(path).write_bytes(model.SerializeToString())
    return Path(path)


def imported(model, **options):
    return import_model(written(model), **{"classes": CLASSES, "input_size": SIDE, **options})


def answers(bundle, images):
    return pictorch.load(bundle.path, threads=1).probabilities(images)


def grey(images):
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])


@pytest.mark.parametrize(
    ("shape", "element", "options", "fed"),
    [
        (("N", 3, 8, 8), TensorProto.FLOAT, {"mean": MEAN, "std": STD},
         lambda: ((IMAGES / 255 - MEAN) / STD).transpose(0, 3, 1, 2)),
        (("N", 8, 8, 3), TensorProto.FLOAT, {"mean": [0.5], "std": [0.5]}, lambda: IMAGES / 127.5 - 1),
        (("N", None, None, 3), TensorProto.DOUBLE, {"pixels": "0-255", "mean": [120, 110, 100], "std": [50]},
         lambda: (IMAGES - [120, 110, 100]) / 50),
        (("N", 3, 8, 8), TensorProto.FLOAT16, {}, lambda: IMAGES.transpose(0, 3, 1, 2) / 255),
        (("N", 8, 8, 3), TensorProto.UINT8, {}, lambda: IMAGES),
        (("N", 192), TensorProto.FLOAT, {}, lambda: IMAGES / 255),
        (("N", 192), TensorProto.FLOAT, {"layout": "nchw"}, lambda: IMAGES.transpose(0, 3, 1, 2) / 255),
        (("N", 64), TensorProto.FLOAT, {}, lambda: grey(IMAGES) / 255),
        (("N", 8, 8), TensorProto.FLOAT, {"pixels": "0-255"}, lambda: grey(IMAGES)),
        (("N", 1, 8, 8), TensorProto.FLOAT, {"mean": [0.13], "std": [0.3]},
         lambda: (grey(IMAGES) / 255 - 0.13) / 0.3),
        ((None, 8, 8, 1), TensorProto.FLOAT, {}, lambda: grey(IMAGES) / 255),
        ((1, 3, 8, 8), TensorProto.FLOAT, {}, lambda: IMAGES.transpose(0, 3, 1, 2) / 255),
    ],
    ids=lambda value: str(value).replace("'", "") if isinstance(value, tuple | dict) else None,
)  # fmt: skip
def test_images_become_what_the_model_takes(shape, element, options, fed):
    weights = foreign_weights(SIDE * SIDE * (3 if 3 in shape or 192 in shape else 1))
    if element == TensorProto.UINT8 or "mean" not in options:
        weights = weights / (100 if options.get("pixels") or element == TensorProto.UINT8 else 1)
    model = foreign_model(
        shape, element=element, weights=weights, batch_in_reshape=1 if shape[0] == 1 else -1
    )
    bundle = imported(model, **options)
    expected = probabilities(fed().reshape(len(IMAGES), -1) @ weights)
    tolerance = 2e-2 if element == TensorProto.FLOAT16 else 1e-5
    np.testing.assert_allclose(answers(bundle, IMAGES), expected, atol=tolerance)
    assert np.ptp(expected, axis=0).max() > 0.1, "images that all get one answer would show nothing"


def test_probabilities_stay_and_logits_get_a_softmax():
    softmax = [helper.make_node("Softmax", ["scores"], ["shares"], axis=1)]
    scores, shares = ("scores", TensorProto.FLOAT, ("N", 3)), ("shares", TensorProto.FLOAT, ("N", 3))
    bundles = [
        imported(foreign_model(behind=softmax, outputs=outputs), out=f"bundle{number}", **options)
        for number, (outputs, options) in enumerate(
            [([scores], {}), ([shares], {}), ([scores, shares], {"output": "shares"})]
        )
    ]
    first, *others = (answers(bundle, IMAGES) for bundle in bundles)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)
    assert [bundle.recipe["imported"]["softmax"] for bundle in bundles] == [True, False, False]


def test_scores_of_every_class_are_found_among_other_outputs():
    behind = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
              helper.make_node("Unsqueeze", ["scores", "last"], ["columns"])]  # fmt: skip
    outputs = [("label", TensorProto.INT64, ("N",)), ("flat", TensorProto.FLOAT, ("N", 192)),
               ("columns", TensorProto.FLOAT, ("N", 3, 1))]  # fmt: skip
    model = foreign_model(behind=behind, outputs=outputs)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "last"))
    bundles = [imported(model, output="columns", out="a")]
    model.graph.output[2].CopyFrom(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("N", 3)))
    bundles.append(imported(model, out="b"))
    expected = probabilities((IMAGES.transpose(0, 3, 1, 2) / 255).reshape(20, -1) @ foreign_weights(192))
    for bundle in bundles:
        np.testing.assert_allclose(answers(bundle, IMAGES), expected, atol=1e-5)


def test_a_bundle_without_images_says_so_and_depends_on_nothing_else():
    first, second = (imported(foreign_model(), out=f"{name}.zip") for name in "ab")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.facts.metrics == {"test_openings": 0}
    card = first.files["MODEL_CARD.md"].decode()
    assert "16 made images" in card
    assert "not judged on any" in card
    assert str(Path.cwd()) not in card + json.dumps(first.to_json()["recipe"])
    assert pictorch.verify(first.path).golden_n == 16


def test_images_of_its_classes_judge_it_in_whatever_order_it_has_them(tmp_path):
    """The mean of a channel tells the colours apart; the folder names blue first, the model red."""
    photos = color_photos(tmp_path / "photos")
    weights = np.zeros((3, 64, 3), np.float32)
    for channel in range(3):
        weights[channel, :, channel] = 0.3
    bundle = imported(foreign_model(weights=weights.reshape(192, 3)), data=photos)
    scored = bundle.facts.metrics["val"]
    assert (scored["n"], scored["accuracy"]) == (6, 1.0)
    judged = pictorch.evaluate(bundle.path, data=photos, out="judged")
    assert (judged.n, judged.accuracy, judged.loss) == (
        scored["n"],
        1.0,
        pytest.approx(scored["loss"], rel=1e-4),
    )
    assert [each.name for each in judged.per_class] == list(CLASSES)
    assert "validation | 6 | 100.00%" in bundle.files["MODEL_CARD.md"].decode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("names.txt", "\ufeffred\r\n green \r\n猫\r\n\r\n".encode()),
        ("names.json", '["red", "green", "猫"]'.encode()),
    ],
)
def test_class_lists(name, data):
    Path(name).write_bytes(data)
    assert imported(foreign_model(), classes=name).class_names == ("red", "green", "猫")


def test_what_no_bundle_takes_falls_away_where_the_scores_do_not_need_it():
    """Functions are written out, and the labels may be made by anything that ONNX Runtime knows."""
    model = foreign_model(
        behind=[helper.make_node("Twice", ["scores"], ["twice"], domain="own"),
                helper.make_node("Binarizer", ["twice"], ["label"], domain="ai.onnx.ml", threshold=0.0)],
        outputs=[("twice", TensorProto.FLOAT, ("N", 3)), ("label", TensorProto.FLOAT, ("N", 4))],
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    twice = helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [opset]
    )
    model.functions.append(twice)
    model.opset_import.extend([helper.make_opsetid("own", 1), helper.make_opsetid("ai.onnx.ml", 1)])
    bundle = imported(model)
    expected = probabilities(2 * (IMAGES.transpose(0, 3, 1, 2) / 255).reshape(20, -1) @ foreign_weights(192))
    np.testing.assert_allclose(answers(bundle, IMAGES), expected, atol=1e-5)


def test_made_images_are_the_same_for_ever_and_differ():
    images = np.concatenate(list(made_images(60, 16)))
    assert images.shape == (60, 16, 16, 3)
    assert len({image.tobytes() for image in images}) == 60
    np.testing.assert_array_equal(np.concatenate(list(made_images(7, 16))), images[:7])
    assert images.min() == 0
    assert images.max() == 255
    smooth = np.abs(np.diff(images[0].astype(int), axis=0)).max()
    assert smooth < 30 < np.abs(np.diff(images[1].astype(int), axis=0)).max()


# --- files of other tools -----------------------------------------------------------------------------


def digit_pictures(folder):
    """Writes the digits as a folder of classes and returns it, with pixels and labels in the same order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey_images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for number, (pixels, label) in enumerate(zip(grey_images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder, grey_images, digits.target


def scikit_learn_file(path, pixels, labels, **options):
    """Trains scikit-learn's network on two thirds of the digits and returns it, written by its converter."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    rows = (pixels.reshape(-1, 64) / 255).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could still learn
        network = MLPClassifier((32,), random_state=0, max_iter=100).fit(rows[:1200], labels[:1200])
    path.write_bytes(to_onnx(network, rows[:1], options=options).SerializeToString())
    return network, rows


needs_converter = pytest.mark.skipif(
    find_spec("skl2onnx") is None, reason="no skl2onnx: pip install skl2onnx"
)
needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="no Keras: pip install keras")


@pytest.mark.slow
@needs_converter
def test_scikit_learns_network_through_the_real_commands(tmp_path, capsys):
    folder, pixels, labels = digit_pictures(tmp_path / "digits")
    network, rows = scikit_learn_file(tmp_path / "mlp.onnx", pixels, labels)  # with its ZipMap
    Path("digits.txt").write_text("".join(f"{digit}\n" for digit in range(10)))

    def said(*words):
        assert cli.main([*words, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    made = said("import", "mlp.onnx", "--classes", "digits.txt", "--input-size", "8", "--data", str(folder),
                "--out", "mlp.zip")  # fmt: skip
    assert made["recipe"]["imported"]["producer"].startswith("skl2onnx")
    assert said("verify", "mlp.zip")["ok"] is True

    found = pictorch.load("mlp.zip").probabilities(np.repeat(pixels[..., None], 3, 3))
    np.testing.assert_allclose(found, network.predict_proba(rows), atol=1e-4)

    unseen = sorted(folder.rglob("*.png"), key=lambda path: path.stem)[1200:]
    told = said("predict", "mlp.zip", *map(str, unseen[:50]))["predictions"]
    assert [one["classes"][0]["name"] for one in told] == [
        str(each) for each in network.predict(rows[1200:1250])
    ]

    judged = said("evaluate", "mlp.zip", "--data", str(folder), "--split", "test", "--out", "judged")
    test = load_splits(DataSection(source=str(folder))).test
    which = grey(test.images[test.indices]).reshape(-1, 64).astype(np.float32) / 255
    assert judged["n"] == len(test)
    assert judged["accuracy"] == pytest.approx(network.score(which, test.labels[test.indices]))
    assert network.score(rows[1200:], labels[1200:]) > 0.9, (
        "a network that learned nothing would show nothing"
    )

    for form in ("onnx", "int8", "triton"):
        said("export", "mlp.zip", "--to", form, "--data", str(folder), "-q")

    with in_process(Path("mlp.zip"), tmp_path / "log") as server:
        image = {"Content-Type": "image/png"}
        request = Request(f"{server.url}/predict", unseen[0].read_bytes(), image)
        answer = json.loads(urlopen(request, timeout=20).read())
    assert answer["top"][0]["class"] == str(network.predict(rows[1200:1201])[0])


@pytest.mark.slow
@needs_keras
def test_a_network_of_keras(tmp_path):
    """In a process of its own, which writes the file and its own answers to every digit."""
    program = Path(__file__).with_name("keras_digits.py")
    subprocess.run([sys.executable, program, tmp_path], check=True, capture_output=True)
    bundle = import_model(tmp_path / "keras.onnx", classes=[str(digit) for digit in range(10)], input_size=8,
                          pixels="0-255", data="digits")  # fmt: skip
    _, pixels, labels = digit_pictures(tmp_path / "digits")
    found, expected = answers(bundle, np.repeat(pixels[..., None], 3, 3)), np.load(tmp_path / "answers.npy")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert bundle.facts.metrics["val"]["accuracy"] > 0.8
    assert (found.argmax(axis=1) == labels).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "batch", "exporter"),
    [
        (64, 1, {"dynamo": True}),
        (96, 2, {"dynamo": False, "opset_version": 11, "dynamic_axes": {"input": [0]}}),
    ],
    ids=["dynamo, one image at a time", "TorchScript, operator set 11"],
)
def test_a_network_of_torchvision_exported_elsewhere(side, batch, exporter):
    from torchvision.models import mobilenet_v3_small
    from torchvision.transforms.v2 import functional

    torch.manual_seed(0)
    network = mobilenet_v3_small(weights=None).eval()
    for module in network.modules():  # drawn weights alone give every image nearly the same answer
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = {"args": (torch.zeros(batch, 3, side, side),), "input_names": ["input"]}
        torch.onnx.export(network, f="mobilenet.onnx", verbose=False, **inputs, **exporter)
    names = [f"class {number}" for number in range(1000)]
    if exporter["dynamo"]:  # which writes weights to another file, unless it is told not to
        with pytest.raises(CheckpointError, match="external data"):
            import_model("mobilenet.onnx", classes=names, input_size=side, mean=MEAN, std=STD)
        onnx.save(onnx.load("mobilenet.onnx"), "mobilenet.onnx")
    bundle = import_model("mobilenet.onnx", classes=names, input_size=side, mean=MEAN, std=STD)
    Image.fromarray(noise(300, 400)).save("photo.png")
    decoded = np.stack([*next(made_images(3, side)), decode_image(Path("photo.png").read_bytes(), side)])
    floats = functional.to_dtype(torch.from_numpy(decoded).permute(0, 3, 1, 2), torch.float32, scale=True)
    with torch.inference_mode():
        expected = network(functional.normalize(floats, MEAN, STD)).softmax(dim=1).numpy()
    np.testing.assert_allclose(answers(bundle, decoded), expected, atol=1e-4)
    assert len(set(expected.argmax(axis=1))) > 1, "images that all get one answer would show nothing"
    (named,) = pictorch.predict(bundle.path, ["photo.png"])
    assert named.name == f"class {expected[-1].argmax()}"

    plain = pictorch.export(bundle.path, to="onnx")
    assert plain.facts["mean"] == pytest.approx(MEAN, abs=1e-5)
    assert plain.facts["std"] == pytest.approx(STD, abs=1e-5)
