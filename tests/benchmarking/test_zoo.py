"""bench zoo: its table is what the run folders say, and it goes on where it was stopped."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import pictorch
from made_data import MadeCifar
from pictorch import cli
from pictorch.benchmarking import zoo
from pictorch.metrics.interval import mean_interval
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

NETWORKS, SEEDS = ("simple_net", "lenet"), 2


def bench(capsys: pytest.CaptureFixture[str], *words: str, exit_code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["bench", "zoo", "--json", "-q", *words]) == exit_code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, two seeds each, one epoch on made-up images in CIFAR-10's layout."""
    place = tmp_path_factory.mktemp("zoo")
    data = MadeCifar().write_batches(place)
    words = ["--models", ",".join(NETWORKS), "--seeds", str(SEEDS), "--epochs", "1", "--data", str(data)]
    changes = ["--set", "train.threads=1", "--set", "train.batch_size=16"]
    assert cli.main(["bench", "zoo", "-q", "--out", str(place / "zoo"), *words, *changes]) == 0
    return place / "zoo"


@pytest.mark.slow
def test_the_table_is_what_the_run_folders_say(folder: Path) -> None:
    record = json.loads((folder / "zoo.json").read_text())
    assert record.keys() >= {"question", "command", "commit", "environment", "n", "values", "rows", "advice"}
    assert [row["network"] for row in record["rows"]] == list(NETWORKS)
    for row in record["rows"]:
        runs = [RunFolder.open(folder / f"{row['network']}-{seed}") for seed in range(SEEDS)]
        evaluations = [run.evaluation("test") for run in runs]
        accuracies = [one.accuracy for one in evaluations if one is not None]
        low, high = mean_interval(accuracies)
        assert row["test_accuracy"] == pytest.approx(statistics.mean(accuracies))
        assert (row["interval_low"], row["interval_high"]) == pytest.approx((max(0, low), min(1, high)))
        assert (row["seeds"], row["interval_over"], row["test_n"], row["epochs"]) == (SEEDS, "seeds", 20, 1)
        network = runs[0].facts()["network"]
        assert (row["parameters"], row["multiply_adds"]) == (network["parameters"], network["multiply_adds"])
        lines = [line for run in runs for line in run.timing() if line["kind"] == "epoch"]
        assert row["training_seconds"] == pytest.approx(
            sum(line["seconds"] for line in lines) / SEEDS, abs=0.01
        )
        assert row["peak_memory_bytes"] == max(line["peak_memory_bytes"] for line in lines)
        assert row["onnx_bytes"] == (folder / f"{row['network']}-0/bundle/model.onnx").stat().st_size
        assert row["latency_seconds"] > 0
        assert row["answers_per_second"] > 0
        assert row["missing"] is None
    assert {value["test_openings"] for value in record["values"]} == {1}
    assert [value["run"] for value in record["values"]] == [
        "simple_net-0",
        "simple_net-1",
        "lenet-0",
        "lenet-1",
    ]
    assert any(
        "(Student's t); n = 20 test images, openings in a run: 1" in line for line in record["remarks"]
    )
    assert "/" not in record["command"], "no place of this machine"


@pytest.mark.slow
def test_the_files_say_the_same(folder: Path) -> None:
    record = json.loads((folder / "zoo.json").read_text())
    with (folder / "zoo.csv").open() as file:
        rows = list(csv.DictReader(file))
    for kept, read in zip(record["rows"], rows, strict=True):
        assert {key: "" if value is None else str(value) for key, value in kept.items()} == read
    text = (folder / "zoo.md").read_text()
    assert f"| simple_net | 25.6 k | 1.64 M | {100 * record['rows'][0]['test_accuracy']:.2f} % |" in text
    assert record["advice"] in text
    assert ElementTree.parse(folder / "zoo.svg").getroot().tag.endswith("svg")
    assert (folder / "zoo.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_a_second_call_trains_nothing_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stamps() -> dict[Path, int]:
        kept = [*folder.rglob("metrics.jsonl"), *folder.rglob("*.safetensors"), *folder.rglob("model.onnx")]
        return {path: path.stat().st_mtime_ns for path in kept}

    before, values = stamps(), json.loads((folder / "zoo.json").read_text())["values"]
    again = bench(capsys, "--out", str(folder))
    assert again["values"] == values
    one = bench(capsys, "--out", str(folder), "--seeds", "1", "--models", "lenet")
    (row,) = one["rows"]
    evaluation = RunFolder.open(folder / "lenet-0").evaluation("test")
    assert evaluation is not None
    assert (row["interval_low"], row["interval_high"]) == evaluation.accuracy_interval
    assert row["interval_over"] == "images"
    assert stamps() == before
    assert cli.main(["bench", "zoo", "--out", str(folder), "--models", ",".join(NETWORKS), "-q"]) == 0
    shown = capsys.readouterr().out
    assert "one seed, interval over the test images only (Wilson)" in shown
    assert one["advice"].startswith("edge and server: lenet (")
    assert cli.main(["runs", str(folder), "-q"]) == 0
    assert capsys.readouterr().out.count("finished") == len(NETWORKS) * SEEDS


@pytest.mark.slow
def test_a_stopped_zoo_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--models", "simple_net", "--data", "digits", "--epochs", "20", "--set", "train.threads=1"]
    command = [sys.executable, "-m", "pictorch", "bench", "zoo", "--out", "zoo", *words]
    metrics = Path("zoo/simple_net-0/metrics.jsonl")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as begun:
        end = time.monotonic() + 120
        while not (metrics.exists() and '"kind": "epoch"' in metrics.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(begun.pid, signal.SIGTERM)
        _, said = begun.communicate()
    assert begun.returncode == 143
    assert said.splitlines()[-1] == (
        "pictorch: stopped by SIGTERM; what is trained is kept; go on with `pictorch bench zoo --out zoo`"
    )
    run = RunFolder.open("zoo/simple_net-0")
    assert run.facts()["stopped_by"] == "SIGTERM"
    done = len(run.epochs())
    assert 0 < done < 20
    (row,) = bench(capsys, "--out", "zoo")["rows"]
    assert row["epochs"] == len(run.epochs()) == 20
    assert "--resume" not in run.facts()["command"], "it is the run that was begun"
    assert row["training_seconds"] == pytest.approx(
        sum(line["seconds"] for line in run.timing() if line["kind"] in ("epoch", "stop")), abs=0.01
    )


@pytest.mark.slow
def test_a_network_that_diverges_is_missing_and_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wild = ["--set", "optimizer.lr=1e20", "--set", "schedule.name=constant", "--set", "train.threads=1"]
    words = ["--models", "simple_net", "--data", "digits", "--epochs", "1", "--out", "zoo", *wild]
    found = bench(capsys, *words, exit_code=6)
    (row,) = found["rows"]
    assert row["test_accuracy"] is None
    assert row["missing"].startswith("seed 0: ")
    assert "last good checkpoint: none yet" in row["missing"]
    assert found["advice"] == "no advice: no network was measured"


def test_networks_that_cannot_be_had_are_rows_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    found = pictorch.bench_zoo(models="timm:resnet10t,lenet", data="digits", console=Console("quiet"))
    assert [row.missing for row in found.rows] == [
        "timm is not installed; install it with `pip install 'pictorch[timm]'`",
        "model.name: lenet cannot take images of 8 pixels; try another size, as `--set data.image_size=32`",
    ]
    assert found.exit_code == 9
    assert found.out == "runs/zoo-001"
    assert Path("runs/zoo-001/zoo.csv").read_text().count("\n") == 3
    assert "lenet" in found._repr_html_()


def test_each_network_has_its_own_recipe_and_others_the_usual_one() -> None:
    assert [zoo._recipe_of(name, None) for name in zoo.SMALL_NETWORKS] == [
        ("cifar10-simple-net", []), ("cifar10-lenet", []), ("cifar10-small-cnn", []), ("cifar10-cnn", []),
    ]  # fmt: skip
    assert zoo._recipe_of("resnet34", None) == ("cifar10-resnet34", []), "not the one with weights"
    assert zoo._recipe_of("timm:vit", None) == (
        "cifar10-resnet18",
        ["model.name=timm:vit", *zoo.USUAL_CHANGES],
    )
    assert zoo._recipe_of("lenet", "own.yaml") == ("own.yaml", ["model.name=lenet"])
