"""The recipe as a type: strict, closed, frozen, and what its sections must agree on."""

from typing import Any

import pytest
from pydantic import ValidationError

from pictorch.recipe import SECTIONS, Recipe, default_of


def recipe(**changes: Any) -> Recipe:
    """Returns a small recipe; `section__key=value` changes a field."""
    values: dict[str, dict[str, Any]] = {
        "data": {"source": "digits"},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.1},
        "train": {"epochs": 10},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        values.setdefault(section, {})[key] = value
    return Recipe.model_validate(values)


def test_what_is_not_given_has_its_default() -> None:
    made = recipe()
    assert made.name == "recipe"
    assert made.data.val_fraction == 0.1
    assert made.schedule.name == "cosine"
    assert made.train.precision == "auto"
    assert made.train.ema_decay is None


def test_every_field_says_what_it_is() -> None:
    assert list(SECTIONS) == ["data", "augment", "model", "loss", "optimizer", "schedule", "train"]
    for section, kind in SECTIONS.items():
        for key, field in kind.model_fields.items():
            assert field.description, f"{section}.{key}"
            assert len(field.description.splitlines()) == 1


def test_default_of() -> None:
    assert default_of("optimizer", "lr") == "required"
    assert default_of("optimizer", "momentum") == 0.9
    assert default_of("train", "ema_decay") is None


def test_a_recipe_does_not_change() -> None:
    made = recipe()
    with pytest.raises(ValidationError, match="frozen"):
        made.train = made.train
    with pytest.raises(ValidationError, match="frozen"):
        made.train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train__epochs", "3"),
        ("train__epochs", True),
        ("train__batch_size", 128.0),
        ("train__seed", "0"),
        ("train__threads", "2"),
        ("train__threads", True),
        ("train__compile", 1),
        ("train__compile", "yes"),
        ("train__ema_decay", "0.9"),
        ("optimizer__lr", "0.1"),
        ("optimizer__lr", True),
        ("optimizer__nesterov", 1),
        ("optimizer__betas", ["0.9", 0.99]),
        ("optimizer__betas", 0.9),
        ("model__name", 18),
        ("model__mean", "0.5"),
        ("model__mean", [0.5, "0.5", 0.5]),
        ("model__mean", [True, 0.5, 0.5]),
        ("data__source", None),
        ("data__source", 5),
        ("data__image_size", "32"),
        ("augment__flip", True),
    ],
)
def test_nothing_is_converted(path: str, value: object) -> None:
    with pytest.raises(ValidationError):
        recipe(**{path: value})


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("data__source", ["x"], [""]),
        ("data__image_size", [1, 4096, None], [0, 4097, -1]),
        ("data__val_fraction", [0, 0.5], [-0.1, 0.51, float("nan")]),
        ("data__test_fraction", [0.0, 0.5], [-0.1, 0.6]),
        ("data__split_seed", [0], [-1]),
        ("augment__flip", ["none", "random", "alternating"], ["yes", ""]),
        ("augment__crop_padding", [0, 256], [-1, 257]),
        ("augment__crop_fill", ["reflect", "zero"], ["wrap"]),
        ("augment__cutout", [0, 1024], [-1, 1025]),
        ("model__dropout", [0, 0.99, None], [1, 1.0, -0.1]),
        ("model__mean", ["auto", (0.1, 0.2, 0.3), [0, 1, 0.5]], ["own", [0.5], [0.5] * 4]),
        ("loss__name", ["cross_entropy", "bce", "mse", "smooth_l1"], ["l1"]),
        ("loss__label_smoothing", [0, 0.1], [1.0, -0.1]),
        ("optimizer__name", ["sgd", "adam", "adamw", "adagrad", "rmsprop"], ["SGD", "lion"]),
        ("optimizer__lr", [1e-9, 1, 10.0], [0, -0.1, float("inf"), float("nan")]),
        ("optimizer__momentum", [0, 0.99], [1.0]),
        ("optimizer__betas", [(0.5, 0.5), [0, 0.999]], [(0.9, 1.0), (0.9,), (0.9, 0.9, 0.9)]),
        ("optimizer__weight_decay", [0, 5e-4, 2], [-1e-9]),
        ("schedule__name", ["constant", "step", "cosine", "linear"], ["onecycle"]),
        ("schedule__warmup_fraction", [0, 0.5], [-0.1, 1.0]),
        ("schedule__warmup_start", [1e-6, 1], [0, 1.1]),
        ("schedule__final_factor", [0, 1], [-0.1, 1.1]),
        ("schedule__step_epochs", [1], [0]),
        ("schedule__step_factor", [0.1, 1], [0, 2]),
        ("train__epochs", [1, 7.6, 0.5], [0, -1, float("nan")]),
        ("train__batch_size", [1], [0]),
        ("train__seed", [0, 2**63 - 1], [-1, 2**63]),
        ("train__device", ["auto", "cpu", "cuda", "mps"], ["gpu", "cuda:0"]),
        ("train__precision", ["auto", "float32", "float64", "bf16", "fp16"], ["fp32"]),
        ("train__channels_last", ["auto", True, False], ["yes"]),
        ("train__threads", ["auto", 1, 1024], [0, 1025]),
        ("train__ema_decay", [0.999, None], [0, 1.0]),
        ("train__clip_norm", [0.1, None], [0]),
        ("train__early_stop_epochs", [1, None], [0]),
        ("train__eval_batch_size", [1], [0]),
        ("train__save_every_epochs", [1, None], [0]),
        ("train__save_every_minutes", [0.01, None], [0]),
        ("train__log_every_steps", [1], [0]),
    ],
)
def test_bounds(path: str, good: list[Any], bad: list[Any]) -> None:
    section, _, key = path.partition("__")
    for value in good:
        found = getattr(getattr(recipe(**{path: value}), section), key)
        assert found == (tuple(value) if isinstance(value, list) else value)
    for value in bad:
        with pytest.raises(ValidationError):
            recipe(**{path: value})


@pytest.mark.parametrize("path", ["train__epoch", "data__Source", "modle__name", "loss__"])
def test_unknown_keys_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        recipe(**{path: 1})


def test_accumulation_divides_the_batch() -> None:
    assert recipe(train__batch_size=96, train__accumulate=32).train.accumulate == 32
    with pytest.raises(ValidationError, match=r"train\.accumulate: 64 does not divide train\.batch_size 96"):
        recipe(train__batch_size=96, train__accumulate=64)
    with pytest.raises(ValidationError, match="does not divide"):
        recipe(train__batch_size=2, train__accumulate=4)


def test_early_stopping_needs_validation() -> None:
    assert recipe(train__early_stop_epochs=3).train.early_stop_epochs == 3
    assert recipe(data__val_fraction=0.0).data.val_fraction == 0
    with pytest.raises(ValidationError, match=r"train\.early_stop_epochs: 3 needs validation images"):
        recipe(train__early_stop_epochs=3, data__val_fraction=0)


def test_all_disagreements_are_named_together() -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(
            train__batch_size=3,
            train__accumulate=2,
            train__early_stop_epochs=1,
            data__val_fraction=0,
        )
    message = str(caught.value)
    assert "train.accumulate" in message
    assert "train.early_stop_epochs" in message


@pytest.mark.parametrize("name", ["../evil", "", "a/b", "-q", ".hidden", "a\nb", "x" * 101])
def test_a_name_is_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        recipe(name=name)
