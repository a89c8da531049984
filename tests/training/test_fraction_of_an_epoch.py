"""A training of 7.6 epochs: its last epoch is short, and everything else is as ever."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.errors import RecipeError
from pictorch.recipe import ScheduleSection
from pictorch.recipe.files import dump_recipe, load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.schedules import Segment, lr_factor, steps_before
from pictorch.training.start import train
from run_bytes import differing
from stopped_run import QUIET, stopped_copy

LINEAR = ScheduleSection(name="linear")


def plan(epochs: list[float]) -> list[Segment]:
    """Returns a first segment and those added to it, each of so many epochs."""
    ends = itertools.accumulate((math.ceil(one) for one in epochs), initial=0)
    return [Segment(end, one, 0.1 if end else 1.0) for end, one in zip(ends, epochs, strict=False)]


@given(
    st.lists(st.floats(0.001, 9) | st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 60),
    st.integers(1, 400),
)
@settings(deadline=None)
def test_steps_and_rates_of_any_plan(epochs: list[float], batch_size: int, images: int) -> None:
    segments, per_epoch = plan(epochs), images // min(batch_size, images)
    passes = range(segments[-1].end_epoch + 1)
    of_epochs = [b - a for a, b in itertools.pairwise(steps_before(segments, n, per_epoch) for n in passes)]
    assert all(1 <= steps <= per_epoch for steps in of_epochs)
    start = 0
    for segment in segments:
        inside = of_epochs[segment.first_epoch : segment.end_epoch]
        steps = sum(inside)
        assert set(inside[:-1]) <= {per_epoch}, "only the last one is short"
        assert abs(steps - segment.epochs * per_epoch) <= (1 if segment.epochs % 1 else 0)
        found = [lr_factor(LINEAR, segments, step, per_epoch) for step in range(start, start + steps)]
        expected = [segment.peak_factor * (1 - step / steps) for step in range(steps)]
        assert found == pytest.approx(expected, abs=1e-9), "the next step would have 0"
        start += steps


@given(st.integers(1, 200), st.integers(1, 500), st.data())
@settings(deadline=None)
def test_whole_epochs_have_the_bits_that_they_had(epochs: int, per_epoch: int, data: Any) -> None:
    step = data.draw(st.integers(0, epochs * per_epoch - 1))
    assert lr_factor(LINEAR, [Segment(0, epochs, 1.0)], step, per_epoch) == 1 - (step / per_epoch) / epochs
    segments = [Segment(0, 3, 1.0), Segment(3, epochs, 0.1)]
    before = 0.1 * (1 - ((3 * per_epoch + step) / per_epoch - 3) / epochs)
    assert lr_factor(LINEAR, segments, 3 * per_epoch + step, per_epoch) == before
    assert steps_before(segments, epochs, per_epoch) == epochs * per_epoch


def test_an_epoch_where_early_stopping_ended_the_plan_is_whole() -> None:
    """Of 7.6 epochs three were done, then two added, then half a one."""
    segments = [Segment(0, 7.6, 1.0), Segment(3, 2, 0.1), Segment(5, 0.5, 0.1)]
    assert [steps_before(segments, epoch, 10) for epoch in range(7)] == [0, 10, 20, 30, 40, 50, 55]
    assert [lr_factor(LINEAR, segments, step, 10) for step in (29, 30, 50)] == pytest.approx(
        [1 - 29 / 76, 0.1, 0.1]
    )


def test_a_whole_number_is_the_same_with_a_point() -> None:
    recipes = [load_recipe("digits", [f"train.epochs={epochs}"]) for epochs in ("7", "7.0", "7e0")]
    assert recipes[0] == recipes[1] == recipes[2]
    assert len({dump_recipe(recipe) for recipe in recipes}) == 1
    assert "  epochs: 7\n" in dump_recipe(recipes[1])
    fraction = load_recipe("digits", ["train.epochs=7.6"])
    assert "  epochs: 7.6\n" in dump_recipe(fraction)
    assert load_recipe(fraction).train.epochs == 7.6


@pytest.fixture
def recipe(plain_recipe: dict[str, Any]) -> dict[str, Any]:
    """Two epochs of five steps and one of three; momentum, and images mixed by the number of the step."""
    plain_recipe["augment"] = {"mixup": 0.2}
    plain_recipe["schedule"] = {"name": "linear"}
    plain_recipe["train"] |= {"epochs": 2.6, "batch_size": 256}
    return plain_recipe


def test_the_last_epoch_is_short_and_everything_knows_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = train(recipe, out="run", console=QUIET)
    assert (result.epochs, result.epochs_planned, result.steps, result.stopped_by) == (3, 3, 13, None)
    run = RunFolder.open("run")
    epochs, steps = run.epochs(), [line for line in run.metrics() if line["kind"] == "step"]
    assert [line["step"] for line in epochs] == [5, 10, 13]
    assert [line["step"] for line in steps] == [5, 10, 13], "the last of an epoch is recorded"
    assert epochs[-1]["lr"] == pytest.approx(0.05 / 13)
    assert 1 < epochs[-1]["train_loss"] < 2.5, "the mean over three steps"
    assert epochs[-1]["train_accuracy"] > 0.15
    assert run.facts()["finished_epoch"] == 3

    with pytest.raises(RecipeError, match=r"--epochs 2\.5: run has 3 already; .* `--epochs 4`"):
        train(resume="run", epochs=2.5, console=QUIET)
    for total in (2.6, 3):
        assert train(resume="run", epochs=total, console=QUIET).steps == 13, "complete"
    for never in (math.inf, math.nan):
        with pytest.raises(RecipeError, match=f"--epochs {never}: run has 3 already"):
            train(resume="run", epochs=never, console=QUIET)
    stopped = train(resume="run", epochs=4.4, console=QUIET)
    assert (stopped.epochs, stopped.steps) == (5, 13 + 5 + 2)
    assert [line["lr"] for line in run.epochs()[3:]] == pytest.approx([0.005 * 3 / 7, 0.005 / 7])


def test_stopped_in_the_short_epoch_and_resumed(recipe: dict[str, Any], tmp_path: Path) -> None:
    train(recipe, out="whole", console=QUIET)
    run = stopped_copy(recipe, tmp_path / "stopped", 12)
    train(resume=run, epochs=2.6, console=QUIET)
    assert differing(tmp_path / "whole", run) == []


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 5, 6])
def test_stopped_around_the_short_epoch_with_more_to_come(
    busy_recipe: dict[str, Any], tmp_path: Path, steps: int
) -> None:
    busy_recipe["train"] |= {"epochs": 1.3, "batch_size": 256, "log_every_steps": 3}
    train(busy_recipe, out="whole", console=QUIET)
    assert train(resume="whole", epochs=3.5, console=QUIET).steps == 7 + 5 + 2
    run = stopped_copy(busy_recipe, tmp_path / "stopped", steps)
    train(resume=run, epochs=3.5, console=QUIET)
    assert differing(tmp_path / "whole", run) == []
