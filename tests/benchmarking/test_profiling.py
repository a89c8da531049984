"""`profile`: real steps of the real loop, what each takes, and the planted bottleneck named."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

import pictorch
from own_module import write_own_net
from pictorch import cli
from pictorch.benchmarking import profiling
from pictorch.datasets.batches import TrainingBatches
from pictorch.errors import DivergedError, RecipeError
from pictorch.training.console import Console
from pictorch.training.regions import PREFIX, region
from pictorch.training.sgd import FusedSGD

QUIET = Console("quiet")
SIMPLE = {"model.name": "simple_net", "train.threads": 1, "optimizer.name": "sgd", "augment.crop_padding": 0}
# As large a network as it takes for its own work to be most of a step.
SLOW_NET = """\
import time
import torch.nn.functional as F
from torch import nn


class SlowNet(nn.Sequential):
    def __init__(self, num_classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

    def forward(self, images_nchw):
        time.sleep(0.02)
        return super().forward(images_nchw)


class ItemNet(SlowNet):
    def forward(self, images_nchw):
        if images_nchw.max() > 1e6:
            raise ValueError
        return super().forward(images_nchw)


def item_loss(logits, targets):
    mean = F.cross_entropy(logits, targets)
    if mean.detach().item() > 1e9 or mean > 1e9:
        raise ValueError
    return mean
"""


def profile(**options: Any) -> profiling.Profile:
    changes = SIMPLE | options.pop("set", {})
    return pictorch.profile("digits", **{"steps": 3, "set": changes, "console": QUIET} | options)


def slowed(real: Any, seconds: float = 0.03) -> Any:
    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return real(*args, **options)

    return slow


@pytest.mark.slow
def test_the_parts_are_the_step() -> None:
    found = profile()
    assert [part.name for part in found.parts] == ["data", "forward", "backward", "optimizer", "rest"]
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert all(part.milliseconds > 0 for part in found.parts)
    whole = sum(part.milliseconds for part in found.parts)
    assert whole == pytest.approx(found.profiled_step_milliseconds)
    assert found.images_per_second == pytest.approx(64_000 / found.step_milliseconds)
    assert found.batch_size == 64
    assert found.waits.calls == 0
    own = {one.name: one for one in found.operators}
    assert own["aten::mkldnn_convolution"].calls == 2
    assert found.operators[0].milliseconds == max(one.milliseconds for one in found.operators)


@pytest.mark.slow
def test_memory_is_that_of_the_activations() -> None:
    """simple_net keeps at least what its convolutions give: 16 x 64 + 32 x 16 numbers an image."""
    found = profile(set={"train.precision": "float32", "augment.cutout": 2})
    parts = {part.name: part for part in found.parts}
    assert parts["forward"].kept_bytes >= 64 * (16 * 64 + 32 * 16) * 4
    assert parts["forward"].allocated_bytes >= parts["forward"].kept_bytes
    assert parts["backward"].kept_bytes < 0
    assert parts["data"].kept_bytes >= 64 * 8 * 8 * 3


@pytest.mark.slow
def test_a_slow_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingBatches, "batch", slowed(TrainingBatches.batch))
    found = profile()
    assert found.bottleneck == "data"
    assert found.sentence.startswith("Getting the batch, mostly waiting for its images, takes ")
    assert found.parts[0].milliseconds > 30


@pytest.mark.slow
def test_a_slow_optimiser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedSGD, "step", slowed(FusedSGD.step))
    found = profile()
    assert found.bottleneck == "optimizer"
    assert "The optimiser sgd" in found.sentence


@pytest.mark.slow
def test_item_in_a_network_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch, SLOW_NET, "slow_net_of_mine")
    line = next(n for n, text in enumerate(SLOW_NET.splitlines(), 1) if "1e6" in text)
    found = profile(set={"model.name": "slow_net_of_mine:ItemNet"})
    assert found.waits.calls == 1
    assert found.bottleneck == "item"
    assert f"slow_net_of_mine.py, line {line}, once a step" in found.sentence
    without = profile(set={"model.name": "slow_net_of_mine:SlowNet"})
    assert (without.bottleneck, without.waits.calls, without.waits.place) == ("forward", 0, None)
    assert "outside torch's operators takes " in without.sentence


@pytest.mark.slow
def test_item_in_a_loss_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_net(monkeypatch, SLOW_NET, "slow_net_of_mine")
    own = {"model.name": "slow_net_of_mine:SlowNet", "loss.name": "slow_net_of_mine:item_loss"}
    found = profile(set=own | {"loss.label_smoothing": 0.0})
    assert found.waits.calls == 2
    assert "slow_net_of_mine.py, line " in found.sentence


@pytest.mark.slow
def test_item_in_an_optimiser_is_not_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FusedSGD.step

    def step(self: FusedSGD, *args: Any) -> Any:
        assert self.param_groups[0]["params"][0].grad.sum().item() < 1e9
        return real(self, *args)

    monkeypatch.setattr(FusedSGD, "step", step)
    assert profile().waits.calls == 0


@pytest.mark.slow
def test_what_is_written(tmp_path: Path) -> None:
    first, second = profile(), profile(out="here")
    assert [first.trace, second.trace] == ["profiles/digits-001/trace.json.gz", "here/trace.json.gz"]
    files = sorted(str(path) for path in Path().rglob("*") if path.is_file() and "cache" not in path.parts)
    names = ("profile.json", "trace.json.gz")
    assert files == [f"{folder}/{name}" for folder in ("here", "profiles/digits-001") for name in names]
    assert json.loads(Path("here/profile.json").read_text()) == json.loads(json.dumps(second.to_json()))
    with gzip.open(second.trace) as file:
        events = json.load(file)["traceEvents"]
    marks = [event["name"] for event in events if event.get("ph") == "X" and PREFIX in event["name"]]
    parts = {"step": 1, "data": 1, "forward": 1, "backward": 1, "optimizer": 2}  # its second: averaging
    for name, times in parts.items():
        assert marks.count(PREFIX + name) == 4 * times, "three steps and the one with the profiler's start"


def test_of_many_steps_only_some_are_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MOST_PROFILED_STEPS", 2)
    found = profile(steps=6)
    assert found.steps == 6
    with gzip.open(found.trace) as file:
        assert file.read().count(f'"{PREFIX}data"'.encode()) == 3, "two, and one with the profiler's start"


@pytest.mark.slow
def test_steps_go_on_over_the_end_of_the_last_epoch() -> None:
    """Two steps an epoch, one epoch planned."""
    assert profile(steps=7, set={"train.batch_size": 700, "train.epochs": 1}).steps == 7


def test_no_region_costs_anything_while_no_profiler_runs() -> None:
    assert region("data") is region("forward")


@pytest.mark.slow
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "digits", "--steps", "2", "--set", "train.threads=1", "--out", "here"]) == 0
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()[3:8]] == [
        "data", "forward", "backward", "optimizer", "rest",
    ]  # fmt: skip
    assert "here/trace.json.gz" in said.out
    assert said.out.splitlines()[-1].endswith(".")
    assert cli.main(["profile", "digits", "--steps", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["steps"] == 1
    assert answer["parts"][0]["name"] == "data"


@pytest.mark.slow
def test_errors_are_those_of_training() -> None:
    with pytest.raises(RecipeError, match="--steps 0"):
        profile(steps=0)
    with pytest.raises(RecipeError, match="unknown recipe 'digts'"):
        pictorch.profile("digts", console=QUIET)
    profile(out="here")
    with pytest.raises(RecipeError, match="--out here is not empty"):
        profile(out="here")
    with pytest.raises(DivergedError, match="last good checkpoint: none"):
        profile(set={"optimizer.lr": 1e30, "train.precision": "float32"}, out="diverged")
