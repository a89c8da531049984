"""Networks, losses and images of the user's own: not found, failing, of the wrong kind, not given again."""

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import nn

import pictorch
from messages import material
from messages.case import Case, Remedy, again, meant
from messages.material import recipe
from pictorch.training.console import Console

TRAIN = "train small.yaml -q --out out"
PYTHON = "python: a command line gives names and paths only"
GOOD = """\
import torch.nn.functional as F
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

def mean_loss(logits, targets):
    return F.cross_entropy(logits, targets)
"""
HEAD_FIRST = (
    GOOD
    + """\

class Net(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.head = nn.Linear(192, num_classes)
        self.body = nn.Linear(3 * image_size**2, 192)

    def forward(self, images_nchw):
        return self.head(self.body(images_nchw.flatten(1)))
"""
)
CHOOSING = (
    GOOD.replace("super().__init__(", "super().__init__(Choosing(), ")
    + """\

class Choosing(nn.Module):
    def forward(self, images_nchw):
        return images_nchw if images_nchw.sum().item() < 1e9 else -images_nchw
"""
)
IMAGES = np.arange(12 * 8 * 8 * 3, dtype=np.uint8).reshape(12, 8, 8, 3)
LABELS = np.arange(12) % 3


def net(num_classes: int, image_size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))


class Uncopied(nn.Linear):
    """A module that cannot be copied."""

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("a file is open")


def own_net(text: str = GOOD) -> None:
    """Writes own_net.py, which no earlier case has imported, and a recipe beside it."""
    recipe()
    sys.modules.pop("own_net", None)
    sys.path[:] = [folder for folder in sys.path if not Path(folder, "own_net.py").exists()]
    Path("own_net.py").write_text(text)


def wrong(name: str, field: str, text: str, names: str, remedy: Remedy | None = None) -> Case:
    """A case of a function in own_net.py; the default remedy mends the file."""
    function = "Net" if field == "model" else "mean_loss"
    return Case(
        name,
        f"{TRAIN} --set {field}.name=own_net:{function}",
        2,
        names,
        remedy or again(own_net),
        lambda: own_net(text),
        makes=("__pycache__",),
    )


def given(
    name: str, exit_code: int, names: str, says: str, bad: dict[str, Any], good: dict[str, Any]
) -> Case:
    """A case of what is given to train in Python; with `good` in its place it trains."""

    def train(objects: dict[str, Any]) -> None:
        pictorch.train("small.yaml", out="out", console=Console("quiet"), **objects)

    return Case(name, TRAIN, exit_code, names, called(lambda: train(good), says=says), recipe, only=PYTHON, call=lambda: train(bad))  # fmt: skip


def called(call: Callable[[], object], *, says: str) -> Remedy:
    """The message says `says`, and the call in Python succeeds."""

    def carry_out(case: Case, message: str) -> None:
        assert says in message, message
        call()

    return carry_out


def run_of_objects() -> None:
    """Copies a run whose network, loss and images were given in Python."""
    shutil.copytree(_trained(), "run")


@cache
def _trained() -> Path:
    path, quiet = material.HOME / "objects", Console("quiet")
    recipe = {"model": {}, "data": {}, "optimizer": {"lr": 0.01}, "train": {"epochs": 1, "threads": 1}}
    pictorch.train(recipe, model=net, loss=F.cross_entropy, data=(IMAGES, LABELS), out=path, console=quiet)
    return path


def known_run() -> None:
    material.run()


def pair(name: str, names: str, says: str, data: Any) -> Case:
    """A case of arrays that cannot be images and labels."""
    return given(name, 3, names, says, {"data": data}, {"data": (IMAGES, LABELS)})


def judge(**objects: Any) -> Callable[[], object]:
    return lambda: pictorch.evaluate("run", **objects)


def go_on(**objects: Any) -> Callable[[], object]:
    return lambda: pictorch.train(resume="run", epochs=3, console=Console("quiet"), **objects)


# fmt: off
CASES = [
    Case("own module that is not there", f"{TRAIN} --set model.name=own_nett:Net", 2, "No module named 'own_nett'", again(lambda: Path("own_nett.py").write_text(GOOD)), own_net),
    Case("zoo with a wrong name", f"{TRAIN} --set data.image_size=32 --set model.name=torchvison:squeezenet1_1", 2, "'torchvison'", meant, recipe),
    wrong("own module that raises", "model", "import os\nos.nothing()", "AttributeError: module 'os'"),
    wrong("own module that ends Python", "loss", "import sys\nsys.exit(3)", "SystemExit: 3"),
    wrong("own module that is no Python", "model", "class Net(:", "own_net.py, line 1"),
    Case("own function that is not there", f"{TRAIN} --set model.name=own_net:Nets", 2, "'Nets'", meant, own_net, makes=("__pycache__",)),
    wrong("own network that raises", "model", "def Net(num_classes, image_size):\n    return 1 / 0", "ZeroDivisionError: division by zero"),
    wrong("own network that is none", "model", "def Net(num_classes, image_size):\n    return 5", "is a int"),
    wrong("own network without parameters", "model", "from torch import nn\ndef Net(num_classes, image_size):\n    return nn.Flatten()", "has no parameters"),
    wrong("own network of another size", "model", GOOD.replace("image_size**2", "28**2"), "mat1 and mat2"),
    wrong("own network that gives two things", "model", GOOD + "class Net(Net):\n    def forward(self, x):\n        return super().forward(x), x\n", "shape tuple"),
    Case("own network that ONNX has no form for", "models own_net:Net --image-size 8 --graph net.onnx", 2, "cannot be written as ONNX", again(own_net), lambda: own_net(CHOOSING), makes=("__pycache__",), slow=True),
    wrong("own loss that raises", "loss", "def mean_loss(logits, targets):\n    return logits[targets.wrong]", "AttributeError"),
    wrong("own loss of each image", "loss", GOOD.replace("targets)\n", "targets, reduction='none')\n"), "float32 of shape (4,)"),
    wrong("own loss that is a number", "loss", "def mean_loss(logits, targets):\n    return 0.5", "a float"),
    wrong("own loss that is not finite", "loss", "def mean_loss(logits, targets):\n    return logits.log().sum()", "nan"),
    wrong("own loss without a gradient", "loss", "def mean_loss(logits, targets):\n    return logits.detach().mean()", "does not depend on the logits"),
    wrong("own loss that would learn", "loss", GOOD + "mean_loss = nn.Linear(1, 1)\n", "nothing would move them"),
    wrong("own network without a gradient", "model", GOOD + "class Net(Net):\n    def forward(self, x):\n        return super().forward(x).detach()\n", "logits without a gradient"),
    Case("own network with its head first", f"{TRAIN} --set model.name=own_net:Net --set optimizer.backbone_lr_factor=0.1", 2, "body, registered last, gives 192 numbers", again(own_net), lambda: own_net(HEAD_FIRST), makes=("__pycache__",)),
    given("network that is fixed", 2, "none requires a gradient", "requires_grad_(True)", {"model": net(3, 8).requires_grad_(False)}, {"model": net(3, 8)}),
    given("text in place of a network", 2, "a str is neither", "set=['model.name=NAME']", {"model": "simple_net"}, {"set": ["model.name=simple_net"]}),
    given("network that cannot be copied", 2, "cannot be copied (TypeError: a file is open)", "mend it there", {"model": Uncopied(192, 3)}, {"model": net}),
    Case("network for a known name", "evaluate run", 2, "simple_net", called(judge(), says="leave out model="), known_run, only=PYTHON, call=judge(model=net)),
    Case("loss for a known name", "train --resume run", 2, "cross_entropy", called(go_on(), says="leave out loss="), known_run, only=PYTHON, call=go_on(loss=F.cross_entropy)),
    Case("images of a run that were given", "evaluate run", 3, "object:arrays", called(judge(model=net, data=(IMAGES, LABELS)), says="pictorch.evaluate(run, data=(images, labels))"), run_of_objects),
    Case("network of a run that was given", "export run", 2, "object:net", called(judge(model=net, data=(IMAGES, LABELS)), says="as model= of pictorch.train, pictorch.evaluate or pictorch.export"), run_of_objects, only=PYTHON, call=lambda: pictorch.export("run", data=(IMAGES, LABELS))),
    Case("loss of a run that was given", "train --resume run", 2, "object:cross_entropy", called(go_on(model=net, loss=F.cross_entropy, data=(IMAGES, LABELS)), says="as loss= of pictorch.train"), run_of_objects, only=PYTHON, call=go_on(model=net, data=(IMAGES, LABELS))),
    Case("given network of other shapes", "evaluate run", 4, "does not fit the run's network: network.1.bias", called(judge(model=net, data=(IMAGES, LABELS)), says="the network of this run"), run_of_objects, only=PYTHON, call=judge(model=lambda classes, size: nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Linear(5, classes)), data=(IMAGES, LABELS))),
    pair("set of images", "a set is no source", "(images, labels)", {1, 2}),
    pair("list of images of two sizes", "inhomogeneous", "give NumPy's or torch's", ([IMAGES[0], IMAGES[0, :4]], [0, 1])),
    pair("images as floats", "float64 (12, 8, 8, 3)", "give uint8 (N, H, W, 3)", (IMAGES / 255, LABELS)),
    pair("images in torch's order", "uint8 (12, 3, 8, 8)", "give uint8 (N, H, W, 3)", (IMAGES.transpose(0, 3, 1, 2), LABELS)),
    pair("labels as floats", "float64 (12,)", "give integers (12,)", (IMAGES, LABELS / 1)),
    pair("too few labels", "(11,) for 12 images", "give integers (12,)", (IMAGES, LABELS[:-1])),
    pair("labels from one on", "labels are 1, 2, 3", "number them 0, 1, 2", (IMAGES, LABELS + 1)),
    pair("negative labels", "labels are -1, 0, 1", "number them 0, 1, 2", (IMAGES, LABELS - 1)),
    pair("class names that are doubled", "'a', 'b', 'a' for 3 classes", "a name of its own", (IMAGES, LABELS, ["a", "b", "a"])),
]
# fmt: on
