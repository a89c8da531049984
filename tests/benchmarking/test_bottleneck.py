"""The rule that names the bottleneck, on made figures: it flips where it says that it does."""

from typing import Any

import pytest

from pictorch.benchmarking import bottleneck
from pictorch.benchmarking.bottleneck import LARGE_SHARE, Operator, Part, Wait, find_bottleneck
from pictorch.recipe import Recipe
from pictorch.recipe.files import load_recipe

OPERATORS = (Operator("aten::convolution_backward", 4, 30.0, 0.6), Operator("aten::mm", 2, 20.0, 0.4))
NO_WAIT = Wait(0, None)


def recipe(**changes: Any) -> Recipe:
    return load_recipe("digits", {name.replace("__", "."): value for name, value in changes.items()})


def parts(*, outside: float = 0.0, busiest: str = "aten::index", **shares: float) -> list[Part]:
    """Parts of a step of 100 ms; forward and backward share what the others leave."""
    left = 1 - sum(shares.values())
    whole = {
        "data": 0.0,
        "optimizer": 0.0,
        "rest": 0.0,
        "forward": left / 3,
        "backward": 2 * left / 3,
    } | shares
    return [Part(name, 100 * share, share, 0, 0, outside, busiest) for name, share in whole.items()]


@pytest.mark.parametrize("name", ["data", "optimizer", "rest"])
def test_a_part_beside_the_network_is_it_from_a_third_of_the_step_on(name: str) -> None:
    below, above = (parts(**{name: LARGE_SHARE + change}) for change in (-0.01, 0.0))
    assert find_bottleneck(below, OPERATORS, NO_WAIT, recipe()).part == "network"
    assert find_bottleneck(above, OPERATORS, NO_WAIT, recipe()).part == name


def test_the_largest_of_them_is_it() -> None:
    assert find_bottleneck(parts(data=0.4, optimizer=0.45), OPERATORS, NO_WAIT, recipe()).part == "optimizer"
    assert find_bottleneck(parts(data=0.45, optimizer=0.4), OPERATORS, NO_WAIT, recipe()).part == "data"


def test_item_is_it_where_nothing_else_takes_a_third() -> None:
    wait = Wait(2, "mine.py, line 12")
    found = find_bottleneck(parts(data=0.2), OPERATORS, wait, recipe())
    assert found.part == "item"
    assert "calls .item() at mine.py, line 12, 2 times a step" in found.sentence
    assert "`.detach()`" in found.sentence
    assert find_bottleneck(parts(data=0.5), OPERATORS, wait, recipe()).part == "data"
    unplaced = find_bottleneck(parts(), OPERATORS, Wait(1, None), recipe()).sentence
    assert "calls .item(), once a step" in unplaced


def test_code_outside_torchs_operators_is_it_from_a_third_of_the_step_on() -> None:
    named = {}
    for outside in (0.32, 0.34):
        given = parts(outside=outside, forward=1.0, backward=0.0)
        named[outside] = find_bottleneck(given, OPERATORS, NO_WAIT, recipe())
        assert find_bottleneck(given, OPERATORS, Wait(1, None), recipe()).part == "item"
    assert (named[0.32].part, named[0.34].part) == ("network", "forward")
    assert "takes 34 % of a step (34 ms)" in named[0.34].sentence


def test_the_network_is_told_with_its_largest_operator() -> None:
    free = recipe(train__threads="auto")
    sentence = find_bottleneck(parts(data=0.1), OPERATORS, NO_WAIT, free).sentence
    assert "takes 90 % of a step (90 ms)" in sentence
    assert "aten::convolution_backward 60 %" in sentence
    assert "smaller network" in sentence


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"train.precision": "float32"}, "train.precision=auto"),
        ({"train.channels_last": False}, "train.channels_last=auto"),
        ({"train.threads": 1}, "train.threads=auto"),
    ],
)
def test_a_setting_that_makes_the_network_slow_is_the_remedy(
    changes: dict[str, Any], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bottleneck, "physical_cores", lambda: 2)
    slow = load_recipe("digits", changes)
    assert f"`--set {remedy}`" in find_bottleneck(parts(), OPERATORS, NO_WAIT, slow).sentence


@pytest.mark.parametrize(
    ("figures", "changes", "words"),
    [
        ({"outside": 0.9}, {}, "mostly waiting for its images"),
        ({"busiest": "aten::index_select"}, {"augment__rotation": 10.0}, "`--set augment.rotation=0`"),
        ({}, {"augment__policy": "rand_augment"}, "`--set augment.policy=none`"),
        ({}, {"augment__rotation": 10.0}, "`--set augment.rotation=0`"),
        ({}, {}, "cannot take less"),
    ],
)
def test_data_waits_or_augments(figures: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    found = find_bottleneck(parts(data=0.62, **figures), OPERATORS, NO_WAIT, recipe(**changes))
    assert words in found.sentence
    assert "62 % of a step (62 ms)" in found.sentence


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("sgd", "train.batch_size=128"), ("rmsprop", "optimizer.name=sgd"), ("muon", "optimizer.name=sgd")],
)
def test_an_optimiser_has_the_remedy_that_fits_it(name: str, remedy: str) -> None:
    slow = recipe(optimizer__name=name, train__batch_size=64)
    sentence = find_bottleneck(parts(optimizer=0.5), OPERATORS, NO_WAIT, slow).sentence
    assert f"The optimiser {name}" in sentence
    assert f"`--set {remedy}`" in sentence


def test_every_remedy_is_a_recipe() -> None:
    """What stands in backticks after --set is accepted."""
    import re

    busy = recipe(augment__policy="trivial_augment", train__precision="float32")
    for figures in ({"data": 0.5}, {"optimizer": 0.5}, {"rest": 0.5}, {}):
        sentence = find_bottleneck(parts(**figures), OPERATORS, NO_WAIT, busy).sentence
        (override,) = re.findall(r"`--set ([^`]+)`", sentence)
        load_recipe("digits", [override])
