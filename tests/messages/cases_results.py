"""Trainings that end badly: diverged, stopped, out of memory, on a full disk; answers that do not agree."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pictorch
from made_data import noise, write_image
from messages.case import Case, Remedy, again, instead, succeeds, told, typed
from messages.cases_cifar10 import by_hand
from messages.faults import Fault, environment, full_disk, locked, ordinary_rights, patched
from messages.material import bundle, recipe, run
from pictorch.bundle.agreement import Agreement
from pictorch.exporting import parity
from pictorch.predictor import image_inputs
from pictorch.training import loop, session

TRAIN = "train small.yaml -q --out out"
WILD = f"{TRAIN} --set optimizer.lr=1e20 --set schedule.name=constant"


def new_run(case: Case, message: str) -> None:
    """Types the flag of the message in a new run."""
    flag = message.rpartition("; ")[2].split("`")[1].split()
    succeeds([*(word if word != "out" else "other" for word in case.words), *flag])


@contextmanager
def interrupted() -> Iterator[None]:
    """Sends SIGINT to this process in the middle of the second step."""
    real, steps = loop.train_step, 0

    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        yield


def out_of_memory(*unused: object, **also_unused: object) -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB"
    )


def runaway_validation() -> Fault:
    return patched(loop, "loss_and_accuracy", lambda logits, labels: (float("nan"), 0.0))


def disagree(*unused: object) -> Agreement:
    return Agreement(1000, 0.5, 12)


def with_image() -> None:
    """Makes a bundle and an image beside it."""
    bundle()
    write_image(Path("image.png"), noise(8, 8))


def _opened(mode: str, closed: bool = False) -> object:
    with open("image.png", mode, encoding=None if "b" in mode else "latin-1") as file:
        if closed:
            file.close()
        return pictorch.load("bundle")([file])  # type: ignore[list-item]


def _answered(mode: str) -> Remedy:
    """The image, opened as the message says, gets an answer."""
    return lambda case, message: None if _opened(mode) else pytest.fail("no answer")


GIVEN = "python: the command line gives paths"


# fmt: off
CASES = [
    Case("loss that explodes", WILD, 6, "learning rate 1e+20", lambda case, message: instead(f"train small.yaml -q --out other --set {message.split('`')[1].split()[1]}", says="start a new run with `--set optimizer.lr=0.1`")(case, message), recipe, makes=("out",)),
    Case("validation that explodes", TRAIN, 6, "validation loss is nan after epoch 1", new_run, recipe, runaway_validation(), makes=("out",)),
    Case("stopped by a signal", TRAIN, 130, "out/checkpoints/last", typed(then_again=False), recipe, interrupted, makes=("out",)),
    Case("out of memory in training", TRAIN, 5, "train.batch_size 4", new_run, recipe, patched(session.TrainingBatches, "batch", out_of_memory), makes=("out",)),
    Case("out of memory in parts of one image", f"{TRAIN} --set train.accumulate=4", 5, "in 4 parts", new_run, recipe, patched(session.TrainingBatches, "batch", out_of_memory), makes=("out",)),
    Case("out of memory in validation", TRAIN, 5, "train.eval_batch_size 200", new_run, recipe, patched(loop, "predict_logits", out_of_memory), makes=("out",)),
    Case("full disk", TRAIN, 5, "no space left while writing out/checkpoints", instead("train --resume out -q", says="a training that has begun with --resume"), recipe, full_disk(15_000), makes=("out",)),
    Case("folder that cannot be written", "train small.yaml -q --out photos/red/000.png/x", 5, "photos/red/000.png/x", instead(TRAIN, says="choose another folder"), recipe),
    Case("folder without rights", "train small.yaml -q --out closed/x", 5, "closed/x", instead("train small.yaml -q --out other", says="choose another folder or mend its rights"), lambda: (recipe(), Path("closed").mkdir(0o500)), ordinary_rights),
    Case("graph that disagrees", "export run -q", 8, "12 of 1,000 top classes differ", told("a network that ONNX computes wrongly is not at hand", says="try another --checkpoint"), run, patched(parity, "compare", disagree), slow=True),
    Case("two downloads at once", "train small.yaml -q --out out --data cifar10", 5, "cache/pictorch/data/cifar-10-python.tar.gz", again(by_hand), recipe, lambda: _being_downloaded()),
    Case("one image for a list", "predict bundle image.png", 3, "put the one into a list", told("only the message is at hand: the mended call is [image]", says="[image]"), bundle, only="python: the command line always makes a list", call=lambda: pictorch.load("bundle")("image.png")),  # type: ignore[arg-type]
    Case("number for an image", "predict bundle image.png", 3, "image 0 is a int", told("the mended call is any other case's", says="give a path"), bundle, only="python: the command line gives paths", call=lambda: pictorch.load("bundle")([5])),  # type: ignore[list-item]
    Case("floats for an image", "predict bundle image.png", 3, "float64 and shape (8, 8, 3)", told("the mended call is any other case's", says="uint8 array"), bundle, only="python: the command line gives paths", call=lambda: pictorch.load("bundle")([np.zeros((8, 8, 3))])),
    Case("file object of text", "predict bundle image.png", 3, "image 0 is a file object of text", _answered("rb"), with_image, only=GIVEN, call=lambda: _opened("r")),
    Case("file object that is closed", "predict bundle image.png", 3, "image 0 is a file object that cannot be read", _answered("rb"), with_image, only=GIVEN, call=lambda: _opened("rb", closed=True)),
    Case("image file that is too large", "predict bundle image.png", 3, "image.png has more than 5 bytes", again(lambda: None), with_image, patched(image_inputs, "LARGEST_FILE_BYTES", 5)),
    Case("folder without images", "predict bundle empty", 3, "empty holds no image", again(lambda: write_image(Path("empty/a.png"), noise(8, 8))), lambda: (bundle(), Path("empty").mkdir())),
    Case("pattern of no file", "predict bundle '*.png'", 3, "*.png matches no file", again(lambda: write_image(Path("a.png"), noise(8, 8))), bundle),
    Case("two forms of answers", "predict bundle image.png --jsonl", 2, "--json is one object", again(lambda: None), with_image, only="cli: Python gets objects"),
]
# fmt: on


@contextmanager
def _being_downloaded() -> Iterator[None]:
    with locked("cache/pictorch/data/cifar-10-python.tar.gz.part")(), environment(PICTORCH_OFFLINE="0")():
        yield
