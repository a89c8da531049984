"""The learning rate as a function of the step: shapes, warm-up, added segments."""

import itertools
import math
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.recipe import ScheduleSection
from pictorch.training.loop import note_plateau
from pictorch.training.schedules import ADDED_PEAK_FACTOR, SHAPES, Segment, lr_factor
from pictorch.training.session import Position

STEPS_PER_EPOCH = 10


def factors(
    section: ScheduleSection, *segments: Segment, steps_per_epoch: int = STEPS_PER_EPOCH
) -> list[float]:
    """Returns the factor of every step that the segments have."""
    steps = segments[-1].end_epoch * steps_per_epoch
    return [lr_factor(section, list(segments), step, steps_per_epoch) for step in range(steps)]


def first(epochs: int) -> Segment:
    return Segment(0, epochs, 1.0)


def test_constant() -> None:
    assert set(factors(ScheduleSection(name="constant"), first(4))) == {1.0}


def test_step_falls_every_so_many_epochs() -> None:
    section = ScheduleSection(name="step", step_epochs=3, step_factor=0.1)
    expected = [0.1 ** (step // 30) for step in range(80)]
    assert factors(section, first(8)) == pytest.approx(expected, rel=1e-12)


def test_multi_step_falls_at_its_milestones() -> None:
    section = ScheduleSection(name="multi_step", milestones=(2, 5), step_factor=0.5)
    assert factors(section, first(6)) == [1.0] * 20 + [0.5] * 30 + [0.25] * 10


def test_exponential_falls_by_its_factor_an_epoch() -> None:
    section = ScheduleSection(name="exponential", step_factor=0.8)
    assert factors(section, first(3)) == pytest.approx([0.8 ** (step / 10) for step in range(30)])


def test_one_cycle_is_torchs() -> None:
    """Theirs reaches its end with the last step, ours one step later."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=41, pct_start=13 / 41, final_div_factor=1e4, cycle_momentum=False
    )
    expected = []
    for _ in range(40):
        expected += theirs.get_last_lr()
        optimizer.step()
        theirs.step()
    section = ScheduleSection(name="one_cycle", final_factor=1 / 25 / 1e4)
    assert factors(section, first(4)) == pytest.approx(expected)
    assert factors(ScheduleSection(name="one_cycle", warmup_fraction=0.5), first(4))[20] == 1


@given(
    losses=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    epochs_without=st.integers(1, 4),
    warmup_epochs=st.integers(0, 3),
)
def test_plateau_is_torchs(losses: list[int], epochs_without: int, warmup_epochs: int) -> None:
    """Torch's patience counts one epoch fewer; the epochs of the warm-up are left out."""
    epochs = len(losses) + warmup_epochs
    section = ScheduleSection(
        name="plateau", plateau_epochs=epochs_without, step_factor=0.5, warmup_fraction=warmup_epochs / epochs
    )
    recipe = SimpleNamespace(schedule=section)
    session: Any = SimpleNamespace(position=Position(), recipe=recipe, segments=[first(epochs)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=epochs_without - 1, threshold=0, eps=0
    )
    for epoch, loss in enumerate([0.1] * warmup_epochs + [float(loss) for loss in losses]):
        if epoch >= warmup_epochs:
            found = lr_factor(section, session.segments, epoch * 10, 10, session.position.rate_falls)
            assert found == optimizer.param_groups[0]["lr"]
            optimizer.step()
            theirs.step(loss)
        note_plateau(session, loss)
        session.position.epoch += 1


def test_plateau_warms_up_and_added_epochs_fall_in_a_line() -> None:
    section = ScheduleSection(name="plateau", warmup_fraction=0.5, warmup_start=0.2)
    segments = [first(4), Segment(4, 2, ADDED_PEAK_FACTOR)]
    found = [lr_factor(section, segments, step, 10, (3, 4, 5)) for step in range(60)]
    assert found[:20] == pytest.approx([0.2 + 0.8 * step / 20 for step in range(20)])
    assert found[20:40] == [1.0] * 10 + [0.1] * 10
    assert found[40:] == pytest.approx([0.1 * (1 - step / 20) for step in range(20)])


def test_every_schedule_of_the_recipe_has_a_shape() -> None:
    assert SHAPES.keys() | {"plateau"} == set(get_args(ScheduleSection.model_fields["name"].annotation))


def test_linear() -> None:
    expected = [1 - step / 40 for step in range(40)]
    assert factors(ScheduleSection(name="linear"), first(4)) == pytest.approx(expected, rel=1e-12)
    higher = [0.2 + 0.8 * factor for factor in expected]
    found = factors(ScheduleSection(name="linear", final_factor=0.2), first(4))
    assert found == pytest.approx(higher, rel=1e-12)


def test_cosine() -> None:
    found = factors(ScheduleSection(name="cosine", final_factor=0.1), first(4))
    assert found[0] == 1
    assert found[20] == pytest.approx(0.55)
    assert found[10] == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.1 + 0.9 * (1 - math.cos(math.pi / 40)) / 2), (
        "the last step is not the end"
    )


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - {"exponential", "one_cycle"}))
def test_warm_up_rises_in_a_line_to_the_peak(name: Any) -> None:
    section = ScheduleSection(name=name, warmup_fraction=0.4, warmup_start=0.1, step_epochs=5)
    found = factors(section, first(5))
    assert found[:20] == pytest.approx([0.1 + 0.9 * step / 20 for step in range(20)])
    assert found[20] == 1
    assert max(found) == 1


def test_the_shape_takes_what_the_warm_up_leaves() -> None:
    section = ScheduleSection(name="linear", warmup_fraction=0.2)
    assert factors(section, first(5))[10:] == pytest.approx([1 - step / 40 for step in range(40)])


def test_the_warm_up_belongs_to_the_first_segment() -> None:
    """It is a share of the recipe's own epochs, however many are added later."""
    section = ScheduleSection(warmup_fraction=0.5)
    assert factors(section, first(4), Segment(4, 100, 0.1))[:40] == factors(section, first(4))


smooth = st.builds(
    ScheduleSection,
    name=st.sampled_from(["constant", "cosine", "linear"]),
    warmup_fraction=st.floats(0, 0.99),
    warmup_start=st.floats(0, 1, exclude_min=True),
    final_factor=st.floats(0, 1),
)


@given(smooth, st.integers(1, 12), st.integers(1, 20), st.lists(st.integers(1, 5), max_size=3))
@settings(deadline=None)
def test_a_rate_is_between_0_and_the_peak_and_has_no_jumps(
    section: ScheduleSection, epochs: int, steps_per_epoch: int, added: list[int]
) -> None:
    segments = [first(epochs)]
    for more in added:
        segments.append(Segment(segments[-1].end_epoch, more, ADDED_PEAK_FACTOR))
    found = factors(section, *segments, steps_per_epoch=steps_per_epoch)
    assert all(0 <= factor <= 1 for factor in found)
    start = 0
    for segment in segments:
        end = segment.end_epoch * steps_per_epoch
        warmup_epochs = section.warmup_fraction * segment.epochs if segment is segments[0] else 0
        steepest = math.pi / 2 / (segment.epochs - warmup_epochs)
        if warmup_epochs:
            steepest = max(steepest, (1 - section.warmup_start) / warmup_epochs)
        for before, after in itertools.pairwise(found[start:end]):
            assert abs(after - before) <= steepest / steps_per_epoch + 1e-9
        start = end


def test_an_added_segment_falls_from_a_tenth_to_0() -> None:
    """Whatever the recipe's shape is; its warm-up does not come again."""
    for name in ("constant", "cosine", "step"):
        section = ScheduleSection.model_validate({"name": name, "warmup_fraction": 0.3})
        found = factors(section, first(3), Segment(3, 2, ADDED_PEAK_FACTOR))
        assert found[:30] == factors(section, first(3)), "what was trained does not change"
        assert found[30:] == pytest.approx([0.1 * (1 - step / 20) for step in range(20)])


def test_each_added_segment_starts_anew() -> None:
    segments = [first(1), Segment(1, 1, 0.1), Segment(2, 4, 0.1)]
    found = factors(ScheduleSection(), *segments)
    assert found[10] == found[20] == 0.1
    assert found[40] == pytest.approx(0.05)


def test_a_segment_is_kept_as_json() -> None:
    segment = Segment(3, 2, 0.1)
    assert segment.end_epoch == 5
    assert segment.to_json() == {"first_epoch": 3, "epochs": 2, "peak_factor": 0.1}
    assert Segment(**segment.to_json()) == segment
