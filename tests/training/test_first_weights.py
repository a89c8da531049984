"""Trainings that begin from weights: what is recorded, what a resume needs, what leaves nothing behind."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pictorch.datasets import load_splits
from pictorch.errors import CheckpointError, RecipeError
from pictorch.exporting.export import export
from pictorch.networks.state_dicts import read_state_dict
from pictorch.run_folder import RunFolder
from pictorch.training import loop
from pictorch.training.checkpoint import load_network
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import Session, build_session
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import QUIET, stopped_copy

QUICK = {
    "name": "quick",
    "data": {"source": "digits"},
    "model": {"name": "simple_net"},
    "optimizer": {"lr": 0.05},
    "train": {"epochs": 1, "batch_size": 256, "threads": 1, "precision": "float32"},
}


def recipe(weights: str | Path, **model: Any) -> dict[str, Any]:
    return {**QUICK, "model": {"name": "simple_net", "weights": str(weights), **model}}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("source") / "run"
    model = {"name": "simple_net", "mean": [0.125, 0.25, 0.5]}  # not those of the images
    train({**QUICK, "model": model}, out=run, console=QUIET)
    return run


@pytest.fixture
def their_file(source: Path, tmp_path: Path) -> Path:
    """The network's weights as somebody's script saves them."""
    path = tmp_path / "their.pth"
    torch.save({"net": dict(read_state_dict(source).tensors)}, path)
    return path


def begun(given: dict[str, Any], out: str) -> Session:
    """Returns the session of a new run before its first step."""
    train(given, out=out, console=QUIET)
    run = RunFolder.open(out)
    splits = load_splits(run.recipe().data)
    runtime = resolve_runtime(run.recipe().train)
    session = build_session(run.recipe(), splits, runtime, [Segment(0, 1, 1.0)])
    shutil.rmtree(run.path / "checkpoints")
    loop.restore_or_begin(session, splits, run, QUIET)
    return session


def test_a_run_gives_its_weights_and_its_normalisation(source: Path) -> None:
    session = begun(recipe(source), "out")
    state = session.network.state_dict()
    kept = load_file(source / "checkpoints/best/model.safetensors")
    assert state.keys() == kept.keys()
    assert all(torch.equal(state[name], kept[name]) for name in state)


def test_a_file_leaves_the_normalisation_to_the_images(their_file: Path, source: Path) -> None:
    session = begun(recipe(their_file, mean=[0.25, 0.5, 0.75]), "out")
    assert session.network.normalization.mean.tolist() == [0.25, 0.5, 0.75]
    own = load_network(RunFolder.open(source), "best").normalization
    assert torch.equal(session.network.normalization.std, own.std)


def test_the_average_begins_from_them(their_file: Path) -> None:
    given = recipe(their_file)
    given["train"] = {**QUICK["train"], "ema_decay": 0.9}  # type: ignore[dict-item]
    session = begun(given, "out")
    assert session.average is not None
    averages, values = session.judged_network.state_dict(), session.network.state_dict()
    assert all(torch.equal(averages[name], values[name]) for name in values)


def test_what_is_recorded_and_said(their_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pictorch import cli

    Path("recipe.yaml").write_text(json.dumps(recipe("their.pth")))
    command = ["train", "recipe.yaml", "--out", "out", "--set", "model.stem_weights=new"]
    assert cli.main(command) == 0
    line = f"weights {their_file}: 4 loaded, 2 new, 2 unused (100.0 % of the values)"
    assert line in capsys.readouterr().err.splitlines()
    assert "\n        conv1.weight new\n" in Path("out/log.txt").read_text()
    facts = RunFolder.open("out").facts()["weights"]
    read = read_state_dict(their_file)
    assert facts["source"] == facts["origin"] == str(their_file), "a relative path is made whole"
    assert facts["sha256"] == read.sha256
    assert facts["counts"] == {"loaded": 4, "new": 2, "unused": 2}
    rows = [[f"conv1.{end}", why] for end in ("bias", "weight") for why in ("new", "unused")]
    assert sorted(facts["rows"]) == rows
    assert RunFolder.open("out").recipe().model.weights == str(their_file)


def test_drawn_weights_are_none_in_the_record(source: Path) -> None:
    assert RunFolder.open(source).facts()["weights"] is None


def test_missing_weights_are_said_before_any_image_is_read() -> None:
    given = {**recipe("imagenet"), "data": {"source": "no-such-folder"}}
    given["model"]["name"] = "resnet18"
    with pytest.raises(CheckpointError, match="resnet18"):
        train(given, out="out", console=QUIET)


@pytest.mark.parametrize("kind", ["missing", "other network", "imagenet"])
def test_what_is_refused_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, "other.pth")
    given = {"missing": "nowhere.pth", "other network": "other.pth"}.get(kind, kind)
    with pytest.raises((CheckpointError, RecipeError)):
        train(recipe(given), out="out", console=QUIET)
    assert not Path("out").exists()


def test_a_run_killed_before_its_first_checkpoint_takes_the_same_weights(their_file: Path) -> None:
    train(recipe(their_file), out="whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "finish_epoch", lambda *arguments: exit("killed"))
        with pytest.raises(SystemExit):
            train(recipe(their_file), out="killed", console=QUIET)
    shutil.copytree("killed", "changed")
    train(resume="killed", console=QUIET)
    assert differing(Path("whole"), Path("killed")) == []
    state = torch.load(their_file, weights_only=True)
    torch.save({**state, "more": 1}, their_file)
    with pytest.raises(CheckpointError, match=r"their\.pth has changed since changed was begun with it"):
        train(resume="changed", console=QUIET)


@pytest.mark.slow
def test_a_resume_is_bit_identical_and_needs_no_file(busy_recipe: dict[str, Any], tmp_path: Path) -> None:
    busy_recipe["train"] |= {"epochs": 2, "precision": "float32"}
    train(busy_recipe, out="source", console=QUIET)
    tensors = dict(read_state_dict("source").tensors)
    torch.save(tensors, "their.pth")
    busy_recipe["model"] |= {"weights": "their.pth", "stem_weights": "new"}
    train(busy_recipe, out="whole", console=QUIET)
    stopped = [stopped_copy(busy_recipe, tmp_path / f"stopped-{steps}", steps) for steps in (1, 13, 27)]
    Path("their.pth").unlink()
    for run in stopped:
        train(resume=run, console=QUIET)
        assert differing(tmp_path / "whole", run) == [], run
    busy_recipe["model"] = {"name": "cifar10_cnn", "dropout": 0.5}
    train(busy_recipe, out="drawn", console=QUIET)
    assert differing(tmp_path / "whole", tmp_path / "drawn"), "the weights made a difference"


@pytest.mark.slow
def test_a_bundle_gives_what_its_run_gives(busy_recipe: dict[str, Any]) -> None:
    """Batch norms, which exporters like to fold into convolutions, are among them."""
    busy_recipe["train"] |= {"epochs": 1, "precision": "float32"}
    train(busy_recipe, out="source", console=QUIET)
    of_run = read_state_dict("source")
    for out in ("bundle", "bundle.zip"):
        export("source", out=out)
        of_bundle = read_state_dict(out)
        assert (of_bundle.class_names, of_bundle.mean, of_bundle.std) == (
            of_run.class_names,
            of_run.mean,
            of_run.std,
        )
        names = [name for name in of_run.tensors if not name.endswith("num_batches_tracked")]
        assert of_bundle.tensors.keys() == set(names)
        assert all(torch.equal(of_bundle.tensors[name], of_run.tensors[name]) for name in names)
    busy_recipe["model"]["weights"] = "bundle.zip"
    train(busy_recipe, out="tuned", console=QUIET)
    assert RunFolder.open("tuned").facts()["weights"]["counts"] == {"loaded": len(names)}
    tuned = export("tuned").recipe["model"]["weights"]
    assert tuned == "bundle.zip", "of a path a bundle tells the last part"
