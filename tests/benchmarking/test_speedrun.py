"""bench speedrun: what its rows say is what the runs recorded, and the arithmetic of the figures."""

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from pictorch import cli
from pictorch.benchmarking import speedrun
from pictorch.benchmarking.flops import multiply_adds_of_sides, training_flops
from pictorch.benchmarking.peak import measured_peak
from pictorch.benchmarking.speedrun_rows import SeedRow, summary_of
from pictorch.datasets import load_splits
from pictorch.errors import RecipeError
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder

WORDS = ["digits", "--target", "0.9", "--set", "train.epochs=1", "--set", "train.threads=1"]


@pytest.mark.parametrize(
    ("target", "recipe"),
    [(0.5, "cifar10-fast90"), (0.9, "cifar10-fast90"), (0.901, "cifar10-fast94"),
     (0.94, "cifar10-fast94"), (0.96, "cifar10-fast96")],
)  # fmt: skip
def test_the_recipe_is_that_of_the_next_target(target: float, recipe: str) -> None:
    assert speedrun._recipe_for(target, None) == recipe
    assert speedrun._recipe_for(target, "own.yaml") == "own.yaml"


def test_targets_that_no_recipe_reaches_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"--target 0\.97: .* give a RECIPE .* `--target 0\.96`"):
        speedrun._recipe_for(0.97, None)
    assert speedrun._recipe_for(0.97, "own.yaml") == "own.yaml"
    for target, right in {94.0: "0.94", 0.0: "0.94", -1.0: "0.94", math.nan: "0.94"}.items():
        with pytest.raises(RecipeError, match=f"give a fraction, as `--target {right}`"):
            speedrun._recipe_for(target, "own.yaml")


def test_seeds_together() -> None:
    def row(seed: int, accuracy: float, seconds: float | None) -> SeedRow:
        views = {"test_accuracy_views": accuracy + 0.01, "images": 1000, "model_flops": 10**9}
        return SeedRow(seed, test_accuracy=accuracy, in_loop_seconds=2.0, total_seconds=seconds, **views)

    rows = [row(0, 0.93, 10.0), row(1, 0.94, None), row(2, 0.935, 14.0), SeedRow(3, missing="no; mend it")]
    found = summary_of(rows, 0.94, peak=1e9, views="flip_shift")
    assert found.n == 3
    assert found.test_accuracy is not None
    assert found.test_accuracy.mean == pytest.approx(0.935)
    assert found.test_accuracy.standard_error == pytest.approx(0.005 / math.sqrt(3))
    assert (found.share_at_target, found.share_at_target_views) == (1 / 3, 1.0)
    assert found.total_seconds is not None
    assert (found.total_seconds.mean, found.total_seconds.n) == (12.0, 2)
    assert found.images_per_second is not None
    assert found.images_per_second.mean == 500
    assert found.share_of_peak is not None
    assert found.share_of_peak.mean == pytest.approx(0.5)
    shown = {one["figure"]: one["value"] for one in found.shown()}
    assert shown["test accuracy"] == "93.50 % ± 0.29 %"
    assert shown["share of the peak, 1 GFLOP/s"] == "50.0 % ± 0.0 %"
    nothing = summary_of([SeedRow(0, missing="no; mend it")], 0.94, peak=1e9, views="flip_shift")
    assert nothing.test_accuracy is None
    assert {one["value"] for one in nothing.shown()} == {"–"}
    (alone,) = (one["value"] for one in summary_of(rows[:1], 0.9, 1e9, "flip").shown()[:1])
    assert alone == "93.00 %", "one seed has no standard error"


def test_operations_are_counted_at_the_size_that_each_step_saw() -> None:
    changes = ["model.name=speednet", "model.widths=[4, 6]", "train.batch_size=500", "train.epochs=3"]
    grown = load_recipe("digits", [*changes, "data.image_size=16", "augment.sizes=[[8, 0.5]]"])
    multiply_adds = multiply_adds_of_sides(grown, load_splits(grown.data))

    def by_hand(side: int) -> int:
        stem, small = side - 1, (side - 1) // 2  # whitening of 2 x 2 patches, then a pooling
        first = stem**2 * 24 * (4 * 3 + 9 * 4)
        return first + small**2 * 9 * (4 * 4 + 4 * 6) + (small // 2) ** 2 * 9 * 6 * 6 + 6 * 10

    assert multiply_adds == {16: by_hand(16), 8: by_hand(8)}
    # Two steps an epoch, six planned: three of each size, and one of each after four.
    assert training_flops(grown, 1200, 6, multiply_adds) == 6 * 500 * 3 * (by_hand(16) + by_hand(8))
    assert training_flops(grown, 1200, 4, multiply_adds) == 6 * 500 * (by_hand(16) + 3 * by_hand(8))
    plain = load_recipe("digits", changes)
    assert training_flops(plain, 300, 2, {8: 7}) == 6 * 300 * 2 * 7, "a batch is no larger than the set"


@pytest.mark.slow
def test_the_peak_is_that_of_a_product() -> None:
    assert 1e9 < measured_peak("cpu", "float32", 1) < 1e14


def bench(capsys: pytest.CaptureFixture[str], *words: str, exit_code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["bench", "speedrun", "--json", "-q", *words]) == exit_code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_seeds_are_trained_from_a_cold_start_judged_once_and_gone_on_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bench(capsys, *WORDS, "--seeds", "2", "--set", "train.seed=7", "--out", "sr")
    assert [value["seed"] for value in record["values"]] == [7, 8]
    for value in record["values"]:
        run = RunFolder.open(Path("sr") / f"seed-{value['seed']}")
        evaluation, lines = run.evaluation("test"), run.timing()
        assert run.recipe().train.seed == value["seed"]
        assert evaluation is not None
        assert evaluation.views is not None
        assert (value["test_accuracy"], value["test_n"]) == (evaluation.accuracy, evaluation.n)
        assert value["test_accuracy_views"] == evaluation.views.accuracy
        assert evaluation.views.name == record["views"] == "flip_shift"
        assert value["test_openings"] == run.data()["test_openings"] == 1
        (epoch,) = (line for line in lines if line["kind"] == "epoch")
        assert value["in_loop_seconds"] == pytest.approx(epoch["train_seconds"], abs=1e-3)
        assert value["images"] == epoch["step"] * run.recipe().train.batch_size
        assert value["total_seconds"] > epoch["seconds"] + 0.5, "a process was started for it"
        network = run.facts()["network"]
        assert value["model_flops"] == 6 * network["multiply_adds"] * value["images"]
    total = record["summary"]["total_seconds"]
    assert total["mean"] == pytest.approx(statistics.mean(one["total_seconds"] for one in record["values"]))
    assert record["peak_flops_per_second"] > 0
    assert record["command"].startswith("pictorch bench speedrun digits --target 0.9")
    with Path("sr/speedrun.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["7", "8"]
    assert "at or over 90.0 %" in Path("sr/speedrun.md").read_text()
    environment = RunFolder.open("sr/seed-8").environment()
    assert record["environment"] == environment
    assert not any("convolutions:" in line for line in record["remarks"])
    environment["convolutions"] = {"layers": ["first", "second"], "instruction_set": "avx2", "build": "abc"}
    rows = [SeedRow(7, epochs=1, test_n=359)]
    remarks = speedrun._remarks(rows, environment, RunFolder.open("sr/seed-8").recipe(), 0.9, 0.0)
    assert any(line.startswith("convolutions: own for 2 layers (avx2, build abc); ") for line in remarks)
    weights = Path("sr/seed-7/checkpoints/last/model.safetensors")
    before = weights.stat().st_mtime_ns
    monkeypatch.setattr(speedrun, "measured_peak", lambda *unused: 1e12)
    again = bench(capsys, "--out", "sr", "--target", "0.1", "--seeds", "1")
    assert again["values"] == record["values"][:1]
    assert again["summary"]["share_at_target"] == 1
    assert weights.stat().st_mtime_ns == before
    refused = bench(capsys, "cifar10-cnn", "--out", "sr", exit_code=2)
    assert "RECIPE cifar10-cnn: sr was begun with digits; leave out RECIPE" in refused["error"]


@pytest.mark.slow
def test_a_seed_that_fails_is_a_row_that_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speedrun, "measured_peak", lambda *unused: 1e12)
    wild = ["--set", "optimizer.lr=1e20", "--set", "schedule.name=constant", "--seeds", "1"]
    record = bench(capsys, *WORDS, *wild, "--out", "sr", exit_code=6)
    (value,) = record["values"]
    assert value["test_accuracy"] is None
    assert "last good checkpoint: none yet" in value["missing"]
    assert record["summary"]["n"] == record["n"] == 0
    assert record["remarks"][0].startswith("missing: seed 0: ")
