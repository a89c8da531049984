"""Files of other frameworks: class lists, inputs, outputs and operators that no bundle can be made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foreign_model import CLASSES, SIDE, foreign_model, foreign_weights
from messages.case import Case, Remedy, Setup, again, instead, meant, typed
from messages.faults import Fault, patched
from pictorch.importing import foreign_onnx

IMPORT = "import foreign.onnx --classes classes.txt --input-size 8 -q"
FLOAT = TensorProto.FLOAT
MODEL, NAMES = Path("foreign.onnx"), Path("classes.txt")


def files(change: Callable[[onnx.ModelProto], object] = lambda model: None, **options: Any) -> Setup:
    """Writes foreign.onnx, whatever it is like, and the names of its three classes."""

    def setup() -> None:
        model = foreign_model(**options)
        change(model)
        MODEL.write_bytes(model.SerializeToString())
        listed()

    return setup


good = files()


def listed(text: str = "".join(f"{name}\n" for name in CLASSES)) -> None:
    NAMES.write_text(text)


def names(data: bytes, path: str = "classes.txt") -> Setup:
    return lambda: (good(), Path(path).write_bytes(data))


def behind(operator: str, made: str = "made", shape: Any = ("N", 3), element: int = FLOAT, **attributes: Any) -> dict[str, Any]:  # fmt: skip
    """Makes another output of the scores."""
    return {
        "behind": [helper.make_node(operator, ["scores"], [made], **attributes)],
        "outputs": [(made, element, shape)],
    }


def weighted(**tensors: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for name, value in tensors.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    return change


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, ("N", 3)))


def added(other: str) -> list[NodeProto]:
    return [helper.make_node("Add", ["scores", other], ["made"])]


def outside() -> None:
    listed()
    onnx.save(foreign_model(), MODEL, save_as_external_data=True, location="weights.bin", size_threshold=0)


def made_whole() -> None:
    onnx.save(onnx.load(MODEL), MODEL)


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "Conjure"


def cut_off() -> None:
    good()
    MODEL.write_bytes(MODEL.read_bytes()[:-40])


def cannot_convert(*unused: object) -> None:
    raise RuntimeError("no adapter")


MADE = [("made", FLOAT, ("N", 3))]
ONE_MADE = [("made", FLOAT, (1, 3))]
ONE_AT_A_TIME = {"shape": (1, 3, SIDE, SIDE), "batch_in_reshape": 1, "outputs": ONE_MADE}


def refused(name: str, exit_code: int, says: str, setup: Setup, more: str = "", remedy: Remedy | None = None, fault: Fault | None = None) -> Case:  # fmt: skip
    """A case of `import`; the default remedy writes a file and a list that fit."""
    options: dict[str, Any] = {"fault": fault} if fault else {}
    return Case(
        f"import: {name}", f"{IMPORT} {more}", exit_code, says, remedy or again(good), setup, **options
    )


# fmt: off
CASES = [
    Case("import: no file", IMPORT.replace("foreign", "nowhere"), 4, "nowhere.onnx cannot be read", instead(IMPORT, says="check the path"), good),
    refused("a text", 4, "foreign.onnx is not an ONNX model", lambda: (listed(), MODEL.write_text("import torch\n"))),
    refused("a file that is cut off", 4, "foreign.onnx is not an ONNX model", cut_off),
    refused("weights in another file", 4, "external data", outside, remedy=again(made_whole)),
    refused("an operator that nobody knows", 4, "cannot be loaded by ONNX Runtime", files(unknown_operator)),
    refused("an operator of another domain", 4, "Binarizer of the domain ai.onnx.ml", files(foreign_operator, behind=[helper.make_node("Binarizer", ["scores"], ["made"], domain="ai.onnx.ml")], outputs=MADE)),
    refused("two inputs", 4, "takes 2 inputs for made (pixels, more)", files(two_inputs, behind=added("more"), outputs=MADE)),
    refused("labels alone", 4, "gives made and in it no floating-point scores", files(**behind("ArgMax", element=TensorProto.INT64, shape=("N", 1), axis=1))),
    refused("an unknown output", 2, "unknown --output 'skores'", good, "--output skores", meant),
    refused("two outputs of scores", 2, "gives 2 outputs (scores, made), of which 2 have 3 values", files(behind=[helper.make_node("Relu", ["scores"], ["made"])], outputs=[("scores", FLOAT, ("N", 3)), *MADE]), remedy=typed()),
    refused("an old operator set that cannot be converted", 4, "has the operator set 9", files(opset=9), fault=patched(foreign_onnx.version_converter, "convert_version", cannot_convert)),
    refused("numbers that are no pixels", 4, "of type int64", files(element=TensorProto.INT64)),
    refused("five dimensions", 4, "takes (any, 3, 8, 8, 1)", files(shape=("N", 3, SIDE, SIDE, 1))),
    refused("batches of four", 4, "takes 4 images at a time", files(shape=(4, 3, SIDE, SIDE))),
    refused("channels that may stand anywhere", 2, "does not say where the channels are", files(shape=("N", None, None, None), weights=foreign_weights(192)), remedy=typed()),
    refused("channels in another place", 2, "8 channels in the order nhwc", good, "--layout nhwc", instead(f"{IMPORT} --layout nchw", says="give the other --layout")),
    refused("another size", 2, "--input-size 16: foreign.onnx takes (any, 3, 8, 8)", good, "--input-size 16", typed()),
    refused("another number of pixels", 2, "takes (any, 192)", files(shape=("N", 192)), "--input-size 5", typed()),
    refused("images that are not square", 2, "takes (any, 3, 8, 9)", files(shape=("N", 3, SIDE, 9), weights=foreign_weights(216))),
    refused("a size that the graph refuses", 4, "fails on images of 16 x 16 pixels", files(shape=("N", 3, None, None), batch_in_reshape=0), "--input-size 16", instead(IMPORT, says="--input-size")),
    refused("a mean of 0 to 255", 2, "--mean 120 --std 1", good, "--mean 120", typed()),
    refused("a deviation of 0", 2, "--std 0 does not fit", good, "--std 0", instead(f"{IMPORT} --std 0.5", says="positive number")),
    refused("a mean for uint8", 2, "of type uint8", files(element=TensorProto.UINT8, weights=foreign_weights(192) / 99), "--mean 0.5", instead(IMPORT, says="leave out --mean")),
    refused("an unknown order", 2, "unknown --layout 'nchv'", good, "--layout nchv", meant),
    refused("a size of 0", 2, "--input-size 0 is no side", good, "--input-size 0", instead(IMPORT, says="1 to 4,096 pixels")),
    refused("fewer names than scores", 3, "gives 3 scores for an image, but classes.txt names 2 classes", names(b"red\ngreen\n")),
    refused("more names than scores", 3, "gives 3 scores for an image, but classes.txt names 4 classes", names(b"red\ngreen\nblue\npink\n")),
    refused("scores without a row for each image", 4, "of the shape (1, 150) for 50 images", files(**behind("Flatten", shape=None, axis=0))),
    refused("scores that are not finite", 4, "not finite", files(**behind("Log"))),
    refused("logits that were called probabilities", 2, "--outputs probabilities: those of foreign.onnx", good, "--outputs probabilities", typed()),
    refused("a sigmoid for each class", 2, "do not sum to 1", files(**behind("Sigmoid")), remedy=typed()),
    refused("one image at a time for ever", 4, "cannot be made a bundle", files(weighted(one=np.ones((1, 1), np.float32)), **{**ONE_AT_A_TIME, "weights": foreign_weights(192, 2), "behind": [helper.make_node("Concat", ["scores", "one"], ["made"], axis=1)]})),
    refused("images that are answered by others", 8, "would not answer as foreign.onnx itself", files(**{**ONE_AT_A_TIME, "behind": [helper.make_node("ReduceMean", ["scores"], ["mean"], axes=[0]), *added("mean")]})),
    Case("import: no class list", IMPORT.replace("classes.txt", "nowhere.txt"), 3, "nowhere.txt cannot be read", instead(IMPORT, says="check the path"), good),
    refused("a class list in another encoding", 3, "classes.txt is not UTF-8", names("猫\n狗\n鱼\n".encode("gbk"))),
    refused("a class without a name", 3, "classes.txt: the 2. class has no name", names(b"red\n\nblue\n")),
    refused("a class named twice", 3, "classes.txt names 'red' twice", names(b"red\ngreen\nred\n")),
    refused("one class", 3, "classes.txt names 1 of at least 2 classes", names(b"red\n")),
    Case("import: JSON that is no list", IMPORT.replace(".txt", ".json"), 3, "classes.json is not a JSON list", again(lambda: Path("classes.json").write_text('["red", "green", "blue"]')), names(b'{"red": 0}', "classes.json")),
]
