"""A network, a loss and images of the user's own go the whole way, and the bundle tells nothing of them."""

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pictorch
from made_data import noise
from own_module import TEXT, write_own_net
from pictorch import cli
from pictorch.datasets import load_splits
from pictorch.errors import StoppedError
from pictorch.recipe import DataSection
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training import loop
from pictorch.training.checkpoint import load_network
from pictorch.training.console import Console
from pictorch.training.result import FitResult
from run_bytes import differing
from stopped_run import KILLED_CHILD

QUIET = Console("quiet")
RECIPE: dict[str, Any] = {
    "data": {"source": "digits"},
    "model": {"name": "own_net_of_mine:OwnNetOfMine"},
    "loss": {"name": "own_net_of_mine:loss_of_mine"},
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "train": {"epochs": 2, "threads": 1, "batch_size": 64, "save_every_minutes": 1e-6},
}
OWN = ("OwnNetOfMine", "loss_of_mine")
NAMES = ("red", "green", "blue")
PROGRAM = Path(sys.executable).with_name("pictorch")  # Python's path lacks the working folder there


class NetworkThatIsMine(nn.Module):
    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8 * (image_size // 2) ** 2, num_classes)

    def forward(self, images_nchw: Tensor) -> Tensor:
        logits: Tensor = self.fc(F.relu(self.conv(images_nchw)).flatten(1))
        return logits


def loss_that_is_mine(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def colored() -> tuple[Any, Any, tuple[str, ...]]:
    """Returns 90 images of 8x8 pixels in three classes that differ by their brightest channel."""
    labels = np.arange(90) % 3
    images = np.stack([noise(8, 8, seed) // 2 for seed in range(90)])
    images[np.arange(90), :, :, labels] += 100
    return images, labels, NAMES


def assert_untold(bundle: Path, *names: str) -> None:
    for path in bundle.iterdir():
        for name in names:
            assert name.encode() not in path.read_bytes(), f"{path} tells of {name}"


def trained(**given: Any) -> FitResult:
    """Trains objects into the folder `run`."""
    changes = {"train.epochs": 8, "train.batch_size": 16, "optimizer.lr": 0.02}
    return pictorch.train(RECIPE, loss=loss_that_is_mine, set=changes, out="run", console=QUIET, **given)


def test_objects_are_trained_and_judged() -> None:
    given: dict[str, Any] = {"model": NetworkThatIsMine(3, 8), "data": colored()}
    before = {name: tensor.clone() for name, tensor in given["model"].state_dict().items()}
    result = trained(**given)
    assert (result.val_accuracy or 0) > 0.7
    for name, tensor in given["model"].state_dict().items():
        assert torch.equal(tensor, before[name]), "the user's own stays as it was"
    kept = load_recipe("run/recipe.yaml")
    assert (kept.model.name, kept.loss.name) == ("object:NetworkThatIsMine", "object:loss_that_is_mine")
    assert kept.data.source == "object:arrays"
    assert RunFolder.open("run").facts()["network"]["name"] == kept.model.name

    judged = pictorch.evaluate("run", split="test", **given)
    assert [one.name for one in judged.per_class] == list(NAMES)


@pytest.mark.slow
def test_objects_are_exported_and_used() -> None:
    given: dict[str, Any] = {"model": NetworkThatIsMine, "data": colored()}
    trained(**given)
    bundle = pictorch.export("run", **given)
    assert bundle.recipe["model"]["name"] == bundle.recipe["loss"]["name"] == "own"
    assert bundle.recipe["data"]["source"] == "arrays"
    assert_untold(Path("run/bundle"), "ThatIsMine", "that_is_mine", "object:")
    assert pictorch.verify("run/bundle").ok
    answers = pictorch.load("run")(list(given["data"][0]), top=1)
    assert np.mean([answer.name == NAMES[row % 3] for row, answer in enumerate(answers)]) > 0.7
    assert pictorch.evaluate("run/bundle", data=given["data"], out="judged").n == 9


def test_weights_of_a_given_module_are_where_training_begins() -> None:
    given = NetworkThatIsMine(3, 8)
    tiny = {
        "train.epochs": 1,
        "optimizer.lr": 1e-12,
        "optimizer.weight_decay": 0.0,
        "loss.name": "cross_entropy",
    }
    pictorch.train(RECIPE, model=given, data=colored(), set=tiny, out="run", console=QUIET)
    trained = load_network(RunFolder.open("run"), "last", own=given).network
    assert isinstance(trained, NetworkThatIsMine)
    torch.testing.assert_close(trained.fc.weight, given.fc.weight, atol=1e-9, rtol=0)


def test_what_a_run_names_is_told_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_own_net(monkeypatch)
    told = {name: f"importing own_net_of_mine:{name} from {path}, which the run names\n" for name in OWN}

    def said(verb: Callable[..., object], *args: Any, **options: Any) -> str:
        sys.modules.pop("own_net_of_mine", None)
        verb(*args, **options, console=Console(stream=(stream := io.StringIO())))
        return stream.getvalue()

    changes = {"train.save_every_minutes": None, "train.epochs": 1}
    assert "importing" not in said(pictorch.train, RECIPE, set=changes, out="run")
    assert told["OwnNetOfMine"] in said(pictorch.evaluate, "run")
    resumed = said(pictorch.train, resume="run", epochs=2)
    assert told["OwnNetOfMine"] in resumed
    assert told["loss_of_mine"] in resumed


def test_recipes_are_checked_without_importing() -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.model.name == "own_net_of_mine:OwnNetOfMine"
    assert "own_net_of_mine" not in sys.modules


def test_an_error_of_ones_own_in_mid_training_names_ones_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "    if len(targets) > 4:\n        raise KeyError('weights')\n    return F.cross"
    write_own_net(monkeypatch, TEXT.replace("    return F.cross", body))
    Path("mine.yaml").write_text(json.dumps(RECIPE))
    assert cli.main(["train", "mine.yaml", "-q"]) == 2
    err = capsys.readouterr().err
    assert err == "pictorch: own_net_of_mine.py, line 18: KeyError: 'weights'; mend it there\n"


def test_debug_shows_the_way_into_ones_own_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_net(monkeypatch, "import math\nmath.sqrt(-1)\n")
    Path("mine.yaml").write_text(json.dumps(RECIPE))
    assert cli.main(["train", "mine.yaml", "-q", "--debug"]) == 2
    err = capsys.readouterr().err
    assert 'own_net_of_mine.py", line 2' in err
    assert "ValueError: math domain error); mend it there" in err.splitlines()[-1]


@pytest.mark.slow
def test_killed_and_resumed_by_name_in_new_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_net(monkeypatch)
    Path("mine.yaml").write_text(json.dumps(RECIPE))
    assert cli.main(["train", "mine.yaml", "--out", "whole", "-q"]) == 0
    command = [sys.executable, "-c", KILLED_CHILD, "13", "train", "mine.yaml", "--out", "killed", "-q"]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    subprocess.run([PROGRAM, "train", "--resume", "killed", "-q"], check=True)
    for run in ("whole", "killed"):
        sys.modules.pop("own_net_of_mine")
        assert cli.main(["evaluate", run, "--split", "test", "-q"]) == 0
        assert cli.main(["export", run]) == 0
        assert "importing own_net_of_mine:OwnNetOfMine from " in capsys.readouterr().err
        assert cli.main(["verify", f"{run}/bundle", "-q"]) == 0
        assert_untold(Path(run, "bundle"), "own_net_of_mine", "OwnNetOfMine", "loss_of_mine")
    assert differing(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.slow
def test_stopped_and_resumed_with_objects(tmp_path: Path) -> None:
    given: dict[str, Any] = {"loss": loss_that_is_mine, "data": colored()}
    given["model"] = lambda classes, size: nn.Sequential(NetworkThatIsMine(classes, size), nn.Dropout(0.1))
    small = {"train.batch_size": 8}
    pictorch.train(RECIPE, set=small, out="whole", console=QUIET, **given)
    real, done = loop.train_step, 0

    def train_step(session: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done == 5:
            signal.raise_signal(signal.SIGTERM)
        return real(session, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", train_step)
        with pytest.raises(StoppedError):
            pictorch.train(RECIPE, set=small, out="stopped", console=QUIET, **given)
    pictorch.train(resume="stopped", console=QUIET, **given)
    assert differing(tmp_path / "whole", tmp_path / "stopped") == []


@pytest.mark.slow
def test_cifar10_by_name_through_the_command_line(
    monkeypatch: pytest.MonkeyPatch, cifar10_home: Path
) -> None:
    write_own_net(monkeypatch)
    changes = {"data": {"source": "cifar10"}, "augment": {"flip": "random"}}
    Path("mine.yaml").write_text(json.dumps({**RECIPE, **changes}))
    every = ["--set", "train.save_every_minutes=null", "--epochs", "0.6"]
    subprocess.run([PROGRAM, "train", "mine.yaml", "--out", "run", "-q", *every], check=True)
    command = [PROGRAM, "evaluate", "run", "--split", "test", "--json"]
    judged = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert judged["accuracy"] > 0.4
    subprocess.run([PROGRAM, "export", "run", "-q"], check=True, capture_output=True)
    assert_untold(Path("run/bundle"), "own_net_of_mine", "OwnNetOfMine", "loss_of_mine")
    splits = load_splits(DataSection(source="cifar10"))
    test = splits.test
    assert test is not None
    rows = test.indices[:100]
    answers = pictorch.load("run")([test.images[row] for row in rows], top=1)
    logits = RunFolder.open("run").evaluation_arrays("test")["logits"][:100]
    assert [answer.name for answer in answers] == [splits.class_names[label] for label in logits.argmax(1)]


@pytest.mark.slow
def test_cifar10_as_objects(cifar10_home: Path) -> None:
    splits = load_splits(DataSection(source="cifar10"))
    rows = splits.train.indices[np.argsort(splits.train.indices % 4_999)[:6_000]]
    given: dict[str, Any] = {
        "model": NetworkThatIsMine,
        "data": (splits.train.images[rows], splits.train.labels[rows]),
    }
    set_ = {"loss.name": "cross_entropy", "train.epochs": 4, "train.save_every_minutes": None}
    pictorch.train(RECIPE, set=set_, out="run", console=QUIET, **given)
    judged = pictorch.evaluate("run", split="test", **given)
    assert judged.accuracy > 0.35
    pictorch.export("run", **given)
    assert pictorch.verify("run/bundle").ok


@pytest.mark.slow
def test_the_lines_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs/networks.md").read_text()
    section = page.partition("## A network of your own")[2].partition("\n## ")[0]
    mine, objects, arrays = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    (commands,) = re.findall(r"^```\n(pictorch .*?)^```", section, re.DOTALL | re.MULTILINE)
    write_own_net(monkeypatch, mine, name="mine")
    lines = [line.split()[1:] for line in commands.splitlines()]
    assert [words[0] for words in lines] == ["models", "train", "evaluate", "export"]
    for words in lines:
        assert cli.main([*words, "--epochs", "2"] if words[0] == "train" else words) == 0, words
    done = subprocess.run([sys.executable, "-c", objects + arrays], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
