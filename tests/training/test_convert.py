"""Files of weights made runs: which recipe, what is assumed, and that every later stage takes them."""

import json
from pathlib import Path

import pytest
import torch

from pictorch import cli
from pictorch.evaluation.evaluate import evaluate
from pictorch.networks.state_dicts import read_state_dict
from pictorch.recipe.files import load_recipe
from pictorch.reporting.report import report
from pictorch.run_folder import RunFolder
from pictorch.training.checkpoint import load_network
from pictorch.training.convert import chosen_recipe, convert
from pictorch.training.start import train
from stopped_run import QUIET

RECIPE = {
    "name": "trained",
    "data": {"source": "digits"},
    "model": {"name": "simple_net", "mean": [0.25, 0.5, 0.75]},
    "optimizer": {"lr": 0.05},
    "train": {"epochs": 1, "batch_size": 256, "threads": 1, "precision": "float32", "ema_decay": 0.9},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    train(RECIPE, out=run, console=QUIET)
    torch.save(dict(read_state_dict(run).tensors), run.with_name("their.pth"))
    return run


@pytest.mark.slow
def test_a_file_becomes_a_run_of_no_epochs_that_is_judged_shown_and_trained_on(trained: Path) -> None:
    file = trained.with_name("their.pth")
    result = convert(file, model="simple_net", recipe=RECIPE, out="out")
    assert (result.run, result.network, result.weights) == ("out", "simple_net", str(file))
    run = RunFolder.open("out")
    assert run.facts()["finished_epoch"] == 0
    assert run.checkpoints() == ["last", "epoch-0000"]
    environment = run.environment()
    kernels = environment["auto"]["train.kernels"]
    assert (kernels["value"], kernels["reason"]) == ("library", "the run was made of weights from elsewhere")
    assert environment["convolutions"] is None
    kept, theirs = load_network(run, "last").network.state_dict(), read_state_dict(file).tensors
    assert all(torch.equal(kept[name], theirs[name]) for name in theirs)
    expected = evaluate(trained)
    assert evaluate("out").accuracy == expected.accuracy
    assert f"{file}: 6 loaded (100.0 % of the values)" in report("out").read_text()
    assert train(resume="out", console=QUIET).epochs == 0, "complete as it is"
    assert train(resume="out", epochs=2, console=QUIET).best_epoch is not None
    assert run.checkpoints() == ["best", "last", "epoch-0000"]
    first = load_network(run, "epoch-0000").network.state_dict()
    assert all(torch.equal(first[name], theirs[name]) for name in theirs), "what it began with stays"
    judged = evaluate("out", checkpoint="epoch-0")
    assert (judged.accuracy, judged.checkpoint, judged.step) == (expected.accuracy, "epoch-0000", 0)
    assert "epoch-0000" in report("out").read_text()


def test_what_was_assumed_is_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, mean = str(trained.with_name("their.pth")), "model.mean=[0.25, 0.5, 0.75]"
    known = {"name": "simple_net", "mean": [0.25, 0.5, 0.75], "std": [0.2, 0.2, 0.2]}
    Path("given.yaml").write_text(json.dumps({**RECIPE, "name": "given", "model": known}))
    said = {
        "as recipe given says": ["--recipe", "given.yaml"],
        "as --set says": ["--data", "digits", "--set", mean, "--set", "model.std=[0.2, 0.2, 0.2]"],
    }
    for reason, flags in said.items():
        assert cli.main(["convert", file, "--model", "simple_net", "--set", "train.threads=1", *flags]) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert line == (
            "images are normalised with mean 0.25, 0.5, 0.75 and deviation 0.2, 0.2, 0.2, " + reason
        )
    result = convert(trained, model="simple_net", recipe=RECIPE, set={"model.mean": "auto"})
    assert result.mean == (0.25, 0.5, 0.75)
    assert result.normalization == "as the weights say"
    result = convert(file, model="simple_net", recipe=RECIPE, set={"model.mean": "auto"})
    std = "as in the training images (model.std auto)"
    assert result.normalization == f"the one {std.replace('std', 'mean')}, the other {std}"
    result = convert(file, model="simple_net", recipe=RECIPE)
    assert result.normalization == f"the one as recipe trained says, the other {std}"
    assert Path("runs/trained-003").is_dir()


def test_the_recipe_is_the_tutorials() -> None:
    """Every network of the tutorials has one, and each says how its images were normalised."""
    for network in ("lenet", "simple_net", "small_bn_cnn", "cifar10_cnn", "alexnet", "resnet34"):
        chosen = chosen_recipe(network, None, frozenset())
        assert isinstance(chosen, str)
        assert chosen.startswith("tutorial-")
        model = load_recipe(chosen).model
        assert model.name == network
        assert "auto" not in (model.mean, model.std)
    assert chosen_recipe("lenet", "mine.yaml", frozenset()) == "mine.yaml"
