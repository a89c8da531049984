"""bench ladder: what is timed is the loop's own step, and the tables follow from the timed seconds."""

import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

import pictorch
from made_data import MadeCifar
from pictorch import cli
from pictorch.benchmarking import ladder, step_times
from pictorch.benchmarking.per_image import PerImageBatches
from pictorch.benchmarking.step_times import StepTimes, session_of, time_in_turn
from pictorch.datasets import load_splits
from pictorch.datasets.batches import TrainingBatches
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training import loop
from pictorch.training.console import Console

QUIET = Console("quiet")
SMALL = ["train.threads=1", "train.batch_size=16"]


def test_image_after_image_gives_the_batches_of_the_store() -> None:
    """The peer does the same work on the same images, else its time would say nothing."""
    recipe = load_recipe("tutorial-d3-resnet34-fast", ["data.source=digits", "train.batch_size=50"])
    splits, device = load_splits(recipe.data), torch.device("cpu")
    ours = TrainingBatches(
        splits.train, recipe.augment, seed=3, batch_size=50, num_classes=10,
        mean_color=np.zeros(3, np.uint8), device=device,
    )  # fmt: skip
    peer = PerImageBatches(splits.train, seed=3, batch_size=50, device=device)
    assert peer.steps_per_epoch == ours.steps_per_epoch
    for epoch, step in ((0, 0), (1, 7)):
        for mine, theirs in zip(ours.batch(epoch, step), peer.batch(epoch, step), strict=True):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs)


def test_timed_steps_are_those_of_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same recipe trained gives the same weights; nothing is left out of what is timed."""
    changes = ["data.source=digits", "train.epochs=1", "train.batch_size=400", "train.threads=1"]
    recipe = load_recipe("cifar10-simple-net", changes)
    timed = StepTimes("simple_net", session_of(recipe, load_splits(recipe.data)))
    steps = timed.session.batches.steps_per_epoch
    timed.warm_up()
    time_in_turn([timed], steps - 1, QUIET)
    assert timed.session.step == steps, "no step is left out or done twice"
    assert len(timed.seconds) == steps - 1
    kept = []

    def keep(session: object, *unused: object, **also_unused: object) -> None:
        kept.append({name: one.clone() for name, one in session.network.state_dict().items()})  # type: ignore[attr-defined]

    monkeypatch.setattr(loop, "save_checkpoint", keep)
    monkeypatch.setattr(loop, "fit_result", lambda run, group: None)
    pictorch.train(recipe, out=tmp_path / "run", console=QUIET)
    weights = timed.session.network.state_dict()
    assert all(torch.equal(weights[name], one) for name, one in kept[-1].items())


def test_an_epoch_is_the_median_step_times_its_steps() -> None:
    recipe = load_recipe("cifar10-simple-net", ["data.source=digits", "train.batch_size=100"])
    timed = StepTimes("simple_net", session_of(recipe, load_splits(recipe.data)))
    timed.seconds = [0.1, 0.2, 9.0]
    assert timed.epoch_seconds == pytest.approx(0.2 * timed.session.batches.steps_per_epoch)
    assert timed.rates == pytest.approx([1000, 500, 100 / 9])


@pytest.mark.slow
def test_the_tables_follow_from_the_timed_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(*unused: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr("pictorch.training.session.torch.compile", no_compiler)
    words = [word for change in SMALL for word in ("--set", change)]
    assert (
        cli.main(
            ["bench", "ladder", "-q", "--json", "--steps", "2", "--data", "digits", "--out", "out", *words]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    values, rungs = found["values"], {rung["name"]: rung for rung in found["rungs"]}
    assert "cannot take images of 8 pixels" in rungs["small CNN"]["missing"]
    assert "resnet34-b627a593.pth is not in" in rungs["ResNet-34 fine-tuned"]["missing"]
    for name in ("ResNet-34 plain", "ResNet-34 efficient"):
        rung, seconds = rungs[name], values[name]["seconds"]
        assert len(seconds) == 2
        expected = statistics.median(seconds) * rung["steps_per_epoch"]
        assert rung["epoch_seconds"] == pytest.approx(expected, rel=1e-3)
        assert (rung["timed"], rung["test_accuracy"]) == ("steps", None)
    worths = {worth["step"]: worth for worth in found["worths"]}
    assert list(worths) == ["channels_last", "mixed precision", "batch size", "resident data", "compile"]
    assert worths["compile"]["missing"] == "RuntimeError: No working C++ compiler found"
    efficient = values["ResNet-34 efficient"]
    for step in ("channels_last", "batch size", "resident data"):
        other = values[step]
        ratios = [
            (efficient["batch_size"] / mine) / (other["batch_size"] / theirs)
            for mine, theirs in zip(efficient["seconds"], other["seconds"], strict=True)
        ]
        assert worths[step]["factor"] == pytest.approx(statistics.median(ratios), rel=1e-3)
        assert worths[step]["lowest"] == pytest.approx(min(ratios), rel=1e-3)
    assert values["batch size"]["batch_size"] == 8
    with Path("out/ladder.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["missing"] != "" for row in rows] == [True, False, False, True]
    assert float(rows[1]["epoch_seconds"]) == rungs["ResNet-34 plain"]["epoch_seconds"]
    assert "| compile | not compiled | missing | – |" in Path("out/ladder.md").read_text()


@pytest.mark.slow
def test_without_steps_every_rung_is_trained_and_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two = {"small CNN": ("tutorial-d1-small-cnn", ()), ladder.EFFICIENT: ("cifar10-simple-net", ())}
    monkeypatch.setattr(ladder, "RUNGS", two)
    monkeypatch.setattr(ladder, "_SWITCHES", ())
    data = MadeCifar().write_batches(tmp_path / "made")
    found = pictorch.bench_ladder(epochs=1, data=data, set=SMALL, out="out", console=QUIET)
    for rung, (recipe, _) in zip(found.rungs, two.values(), strict=True):
        run = RunFolder.open(Path("out") / recipe)
        evaluation = run.evaluation("test")
        assert evaluation is not None
        assert rung.test_accuracy == evaluation.accuracy
        assert (rung.interval_low, rung.interval_high) == evaluation.accuracy_interval
        (line,) = (line for line in run.timing() if line["kind"] == "epoch")
        assert rung.epoch_seconds == pytest.approx(line["seconds"], abs=1e-3)
        assert rung.timed == "epochs"
    before = [path.stat().st_mtime_ns for path in Path("out").rglob("metrics.jsonl")]
    assert pictorch.bench_ladder(out="out", console=QUIET).rungs == found.rungs
    assert [path.stat().st_mtime_ns for path in Path("out").rglob("metrics.jsonl")] == before
    assert "small CNN" in found._repr_html_()


def test_a_step_that_is_not_in_use_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "RUNGS", {ladder.EFFICIENT: ("cifar10-simple-net", ())})
    monkeypatch.setattr(ladder, "_SWITCHES", ladder._SWITCHES[:3])
    monkeypatch.setattr(step_times, "train_step", lambda session, measure_norm: None)
    changes = ["train.precision=float32", "train.batch_size=8", "train.threads=1"]
    found = pictorch.bench_ladder(steps=1, data="digits", set=changes, console=QUIET)
    assert [worth.missing for worth in found.worths[1:]] == ["not in use on this device"] * 2
    assert found.worths[0].factor is not None
