"""Bundles: missing, damaged, hostile, newer, or not what their manifest promises."""

import hashlib
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from made_data import noise, write_classes, write_image
from messages.case import Case, Remedy, Setup, again, instead, meant, told, typed
from messages.faults import Fault, ordinary_rights, patched
from messages.material import CLASSES, bundle, photos, run
from pictorch import durable
from pictorch.bundle import bundle as bundles
from pictorch.bundle import onnx_guard
from pictorch.bundle import source as sources
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.run_folder import npz_bytes
from tiny_bundle import tiny_model

MANIFEST = Path("bundle/bundle.json")


def whole() -> None:
    """Puts the bundle back, as from a copy."""
    for path in (Path("bundle"), Path("bundle.zip")):
        if path.is_dir():
            shutil.rmtree(path)
            bundle(path.name)
        elif path.exists():
            path.unlink()
            packed()


def packed(members: dict[str, bytes] | None = None, **options: Any) -> None:
    """Writes bundle.zip: the whole bundle, or these members."""
    if members is None:
        members = {path.name: path.read_bytes() for path in bundle("unpacked").iterdir()}
        Path("bundle.zip").write_bytes(sources.zip_bytes(members))
        shutil.rmtree("unpacked")
        return
    with zipfile.ZipFile("bundle.zip", "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def rezipped(change: Callable[[bytes], bytes]) -> Setup:
    def setup() -> None:
        packed()
        Path("bundle.zip").write_bytes(change(Path("bundle.zip").read_bytes()))

    return setup


def edited(change: Callable[[bytes], bytes]) -> Setup:
    def setup() -> None:
        bundle()
        MANIFEST.write_bytes(change(MANIFEST.read_bytes()))

    return setup


def sealed(files: dict[str, bytes] | None = None, **changes: object) -> Setup:
    """Changes files and facts of a bundle and gives them new hashes, as whoever means ill would."""

    def setup() -> None:
        bundle()
        record = {**json.loads(MANIFEST.read_bytes()), **changes}
        for name, data in (files or {}).items():
            Path("bundle", name).write_bytes(data)
            record["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        durable.seal_manifest(record)
        MANIFEST.write_bytes(durable.json_bytes(record))

    return setup


def unlisted() -> None:
    sealed()()
    record = json.loads(MANIFEST.read_bytes())
    record["files"] = {"golden.npz": record["files"]["golden.npz"]}
    durable.seal_manifest(record)
    MANIFEST.write_bytes(durable.json_bytes(record))


def graph(change: Callable[[onnx.ModelProto], object]) -> Setup:
    model = tiny_model()
    change(model)
    return sealed({"model.onnx": model.SerializeToString()})


def golden(**changes: Any) -> Setup:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    opened = OnnxModel(tiny_model().SerializeToString(), name="m", size=8, num_classes=3, threads=1)
    arrays = {"images": images, "probabilities": opened.probabilities(images), **changes}
    return sealed({"golden.npz": npz_bytes(arrays)})


def twice() -> None:
    with warnings.catch_warnings(), zipfile.ZipFile("bundle.zip", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("model.onnx", b"1")
        archive.writestr("model.onnx", b"2")


def no_signature_of_the_list(data: bytes) -> bytes:
    place = data.rindex(b"PK\1\2")
    return data[:place] + b"PK\1\3" + data[place + 4 :]


def flipped_inside(data: bytes) -> bytes:
    place = data.index(b"colors\n")
    return data[:place] + b"colorz\n" + data[place + 7 :]


def output_is_fixed(model: onnx.ModelProto) -> None:
    """Promises what the tests ask for and gives one row less."""
    model.graph.node[3].output[0] = "all"
    model.graph.node.append(helper.make_node("Slice", ["all", "one", "many", "zero"], ["probabilities"]))
    for name, value in (("one", 1), ("many", 10**6), ("zero", 0)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), name))


def fails_on_images(model: onnx.ModelProto) -> None:
    """Asks for rows of 7, which 4 images of 8 x 8 cannot be divided into."""
    rows = onnx.numpy_helper.from_array(np.array([-1, 7, 8, 3], np.int64), "rows")
    model.graph.initializer.append(rows)
    model.graph.node[1].input[0] = "sevens"
    model.graph.node.insert(1, helper.make_node("Reshape", ["pixels", "rows"], ["sevens"]))


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Conjure"


def outside(model: onnx.ModelProto) -> None:
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../secret")


def wider(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def refused(name: str, names: str, setup: Setup, fault: Fault | None = None, remedy: Remedy | None = None, argv: str = "verify bundle") -> Case:  # fmt: skip
    """A case of `verify`; the default remedy puts a whole bundle in its place."""
    return Case(name, argv, 4, names, remedy or again(whole), setup, **({"fault": fault} if fault else {}))


def refused_zip(name: str, names: str, setup: Setup, fault: Fault | None = None) -> Case:
    return refused(name, names, setup, fault, argv="verify bundle.zip")


JUDGE = "evaluate bundle -q --data photos --out judged"
NAME = "predict bundle image.png"


def with_image(setup: Callable[[], object] = bundle) -> Setup:
    return lambda: (setup(), write_image(Path("image.png"), noise(8, 8)))


# fmt: off
CASES = [
    refused("bundle that is not there", "nowhere.zip", lambda: bundle(), remedy=instead("verify bundle", says="give the folder or zip that `pictorch export RUN` wrote"), argv="verify nowhere.zip"),
    Case("run without a bundle", "predict run image.png", 4, "run has no bundle yet", typed(), lambda: (run(), write_image(Path("image.png"), noise(8, 8))), slow=True),
    refused_zip("zip without a manifest", "bundle.zip is not a bundle (it has no bundle.json)", lambda: packed({"model.onnx": b"1"})),
    refused("manifest that is no JSON", "bundle.json is not JSON", edited(lambda data: data[:-9])),
    refused("manifest without a schema", "no schema number", edited(lambda data: b"{}")),
    refused("bundle of a newer pictorch", "schema 99", sealed(schema=99), remedy=told("a newer pictorch is not there to be installed", says="`pip install -U pictorch`")),
    refused("manifest that was edited", "its own sha256 differs", edited(lambda data: data.replace(b"blue", b"pink"))),
    refused("manifest without the model", "does not list model.onnx", unlisted),
    refused("manifest without classes", "class_names is missing or wrong", sealed(class_names=None)),
    refused("manifest with classes that are numbers", "class_names", sealed(class_names=[1, 2, 3])),
    refused("manifest with a licence that is no text", "licence", sealed(licence=5)),
    refused("manifest with unknown views", "views is missing or wrong", sealed(views="spin")),
    refused("manifest with another quantization", "quantization is missing or wrong", sealed(quantization="int4")),
    refused("manifest with a tolerance of two", "golden_tolerance is missing or wrong", sealed(golden_tolerance=2.0)),
    refused("manifest with another resampling", "nearest", sealed(input={**bundles.InputSpec(8, 8).to_json(), "resampling": "nearest"}), remedy=told("a newer pictorch is not there to be installed", says="`pip install -U pictorch`")),
    refused("bundle without its card", "MODEL_CARD.md is missing", lambda: bundle().joinpath("MODEL_CARD.md").unlink()),
    refused("bundle with a folder for a model", "model.onnx is not a file", lambda: (bundle(), Path("bundle/model.onnx").unlink(), Path("bundle/model.onnx").mkdir())),
    refused("bundle with a flipped bit", "sha256 of model.onnx differs", lambda: (bundle(), Path("bundle/model.onnx").write_bytes(b"\1" + Path("bundle/model.onnx").read_bytes()[1:]))),
    refused("bundle of 3 GB", "more than 500 bytes", lambda: bundle(), patched(bundles, "LARGEST_BUNDLE_BYTES", 500)),
    refused("bundle folder without rights", "bundle cannot be read", lambda: bundle().chmod(0o300), ordinary_rights, typed()),
    refused("model without rights", "bundle/model.onnx cannot be read", lambda: bundle().joinpath("model.onnx").chmod(0), ordinary_rights, typed()),
    refused("model that is none", "bundle/model.onnx is not an ONNX model", sealed({"model.onnx": b"no model"})),
    refused("model that is cut off", "bundle/model.onnx is not an ONNX model", sealed({"model.onnx": b"\x3a\xff\x01x"})),
    refused("model that ends in a number", "bundle/model.onnx is not an ONNX model", sealed({"model.onnx": b"\x08\x80"})),
    refused("model with too many fields", "more than 3 fields", lambda: bundle(), patched(onnx_guard, "_MOST_FIELDS", 3)),
    refused("model with weights elsewhere", "external data", graph(outside)),
    refused("model with foreign operators", "com.example", graph(foreign)),
    refused("model with an unknown operator", "bundle/model.onnx cannot be loaded", graph(unknown_operator)),
    refused("model that fails on images", "bundle/model.onnx fails on images", graph(fails_on_images)),
    refused("model of other classes", "probabilities tensor(float)", sealed(class_names=["a", "b"])),
    refused("model that loses an image", "(3, 3) for 4 images", graph(output_is_fixed)),
    refused("golden samples that are none", "bundle/golden.npz cannot be read", sealed({"golden.npz": b"none"})),
    refused("golden samples of 500 MB", "bundle/golden.npz holds more than 50 bytes", lambda: bundle(), patched(bundles, "_LARGEST_GOLDEN_BYTES", 50)),
    refused("golden samples of another size", "bundle/golden.npz does not fit", golden(images=np.zeros((4, 9, 9, 3), np.uint8))),
    refused("golden samples with other answers", "gives other answers here", golden(probabilities=np.full((4, 3), 1 / 3, np.float32)), remedy=again(whole)),
    refused_zip("zip without rights", "bundle.zip cannot be read", lambda: (packed(), Path("bundle.zip").chmod(0)), ordinary_rights),
    refused_zip("photograph in place of a zip", "does not begin as a zip", lambda: Path("bundle.zip").write_bytes(b"\xff\xd8\xff")),
    refused_zip("zip with something behind it", "something behind its end", rezipped(lambda data: data + b"more")),
    refused_zip("zip with a huge list", "its list of files is too large", lambda: packed({f"{number:05d}": b"" for number in range(2000)})),
    refused_zip("zip whose list is damaged", "bundle.zip is not a bundle that can be read", rezipped(no_signature_of_the_list)),
    refused_zip("zip of many files", "more than 32 files", lambda: packed({f"f{number}": b"" for number in range(33)})),
    refused_zip("zip with a path in it", "'../model.onnx'", lambda: packed({"../model.onnx": b""})),
    refused_zip("zip with a double", "model.onnx is there twice", twice),
    refused_zip("zip with unusual packing", "packed in an unusual way", lambda: packed({"model.onnx": b"x"}, compression=zipfile.ZIP_LZMA)),
    refused_zip("zip with a flipped bit", "bundle.zip is damaged (MODEL_CARD.md", rezipped(flipped_inside)),
    refused_zip("zip of 3 GB", "more than 500 bytes", lambda: packed(), patched(sources, "LARGEST_BUNDLE_BYTES", 500)),
    Case("export over something else", "export run -q --out photos", 2, "--out photos", instead("export run -q --out other", says="choose another --out"), lambda: (run(), photos()), slow=True),
    Case("bundle and other classes", JUDGE, 3, "lacks: red; adds: rad", again(lambda: Path("photos/rad").rename("photos/red")), lambda: (bundle(), photos(), Path("photos/red").rename("photos/rad"))),
    Case("bundle and smaller images", JUDGE, 3, "images of 4 pixels", again(lambda: (shutil.rmtree("photos"), photos())), lambda: (bundle(), write_classes(Path("photos"), dict.fromkeys(CLASSES, 6), side=4))),
    Case("unknown views", f"{NAME} --views flop", 2, "unknown set of views 'flop'", meant, with_image()),
    Case("unsure images without views", f"{NAME} --views-below 0.9", 2, "--views-below 0.9", typed(), with_image()),
    Case("views below no probability", f"{NAME} --views flip --views-below 90", 2, "--views-below 90", typed(), with_image()),
    Case("views of a graph that has some", f"{NAME} --views flip", 2, "bundle answers from the views flip_shift", instead(NAME, says="leave out --views"), with_image(sealed(views="flip_shift"))),
    Case("bundle without validation images", JUDGE, 3, "no val images", instead(f"{JUDGE} --split test", says="use `--split test`"), lambda: (photos(), sealed(recipe={"name": "x", "data": {"source": "photos", "val_fraction": 0.0}})())),
]
# fmt: on
