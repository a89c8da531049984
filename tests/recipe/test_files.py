"""Recipes as YAML: found, overridden, refused with every problem at once, written and explained."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pictorch.errors import RecipeError
from pictorch.recipe import Recipe
from pictorch.recipe.files import (
    dump_recipe,
    explain_recipe,
    load_recipe,
    packaged_recipes,
    recipe_header,
    recipes,
)

BASE: dict[str, Any] = {
    "data": {"source": "digits"},
    "model": {"name": "simple_net"},
    "optimizer": {"lr": 0.1},
    "train": {"epochs": 3},
}

# Everything that YAML can hold inside double quotes without an escape, and some that needs one.
names = st.sampled_from(["1e5", "null", "12", "~"]) | st.text(
    alphabet="abcXYZ019 .,:;#'\"_*&!%@`|>[]{}?~=+éß鳥😀-", max_size=20
).map("x".__add__)
texts = st.text(alphabet="abcXYZ019 .,:;#'\"\\/-_*&!%@`|>[]{}?~=+éß鳥😀\t\n", min_size=1, max_size=20)
fractions = st.floats(0, 1, exclude_max=True)


def write(folder: Path, text: str | bytes, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(ref: Any, overrides: Any = (), **options: Any) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(ref, overrides, **options)
    for problem in caught.value.problems:
        assert len(problem.splitlines()) == 1, problem
    return caught.value.problems


# --- packaged -------------------------------------------------------------------------------------


def test_recipes_lists_or_explains() -> None:
    listed = recipes()
    assert [each["name"] for each in listed] == packaged_recipes()
    assert listed[0]["header"] == recipe_header(packaged_recipes()[0])
    assert recipes("digits") == explain_recipe(load_recipe("digits"))


def test_an_unknown_recipe() -> None:
    (problem,) = problems("digitz")
    assert problem.startswith("unknown recipe 'digitz' (did you mean digits?); known: ")
    assert problem.endswith("or give a .yaml file")
    with pytest.raises(RecipeError, match="unknown recipe"):
        recipes("../packaged_recipes/digits")


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_named_after_itself_unless_it_says_so(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, yaml.safe_dump(BASE), "mine.yml")).name == "mine"
    assert load_recipe(write(tmp_path, yaml.safe_dump({"name": "own", **BASE}), "other.yaml")).name == "own"
    assert load_recipe(str(write(tmp_path, yaml.safe_dump(BASE), "no ending"))).name == "no ending"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("+1e-3", 1e-3), ("5.e-4", 5e-4), (".5e1", 5.0), ("1e2", 100.0)],
)
def test_numbers_with_an_exponent_are_numbers(tmp_path: Path, text: str, value: float) -> None:
    """YAML 1.1 reads 1e-3 as text, since it has no dot."""
    path = write(tmp_path, yaml.safe_dump(BASE).replace("lr: 0.1", f"lr: {text}"))
    assert load_recipe(path).optimizer.lr == value
    assert load_recipe(BASE, [f"optimizer.lr={text}"]).optimizer.lr == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data: {source: a, source: b}", "line 1: a key stands twice"),
        ("train:\n  epochs: 1\ntrain:\n  epochs: 2", "a key stands twice"),
        ("data: &all {source: a}\nmodel: *all", r"aliases \(\*name\) are not allowed"),
        ("data: !!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ("data: !own {source: a}", "could not determine a constructor for the tag"),
        ("data: {source: a", "line 1"),
        ("data: [", "not readable as YAML"),
        ("[a]: b", "unhashable key"),
        ("data: {source: 2020-13-45}", "month must be in"),
        ("data: {source: 0x_}", "invalid literal"),
        ("data: {source: " + "1" * 5000 + "}", "limit"),
        ("[" * 20_000, "recursion"),
        ("data: '\x01'", "special characters are not allowed"),
    ],
)
def test_what_yaml_cannot_or_may_not_hold(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=reason) as caught:
        load_recipe(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path} is not readable as YAML (")
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "# only a comment", "text", "- data\n- model", "5", "null"])
def test_a_file_that_holds_no_sections(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert problems(path) == (
        f"{path} is no recipe: that is a mapping of sections (data, augment, model, loss, optimizer, "
        "schedule, train); `pictorch recipes digits` shows one",
    )


def test_paths_that_are_no_recipe(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    expected = f"recipe file {missing} does not exist; `pictorch recipes` lists packaged ones"
    assert problems(missing) == (expected,)
    (tmp_path / "folder.yaml").mkdir()
    assert "does not exist" in problems(tmp_path / "folder.yaml")[0]
    assert "or give a .yaml file" in problems(tmp_path)[0]
    binary = write(tmp_path, b"\x89PNG\r\n\xff\xfe\x00")
    assert problems(binary) == (f"{binary} is no text in UTF-8; save it as UTF-8",)
    large = write(tmp_path, b"#" * 1_000_001)
    said = f"{large} has 1,000,001 bytes, a recipe 1,000,000 at most; shorten it"
    assert problems(large) == (said,)


def test_a_name_that_is_no_utf8_says_what_to_do() -> None:
    assert problems("digits", [("data.source", "d\udcff")]) == (
        "digits: data.source = 'd\\udcff': should be UTF-8; rename it",
    )


# --- problems -------------------------------------------------------------------------------------


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    text = """
    data: {sorce: digits, val_fraction: 0.9}
    augmnt: {flip: random}
    augment: {flip: alternatin}
    model: {name: simplenet}
    optimizer: {lr: fast, momentum: true, nesterov: 'no'}
    schedule: 5
    train: {batch_size: 12.5, precision: float3, channels_last: autp}
    """
    path = write(tmp_path, text)
    found = problems(path, ["train.seed=-1", "trian.epochs=3", "loss"], network_problem=refused)
    assert all(problem.startswith(f"{path}: ") for problem in found)
    lines = [problem.removeprefix(f"{path}: ") for problem in found]
    sections = "data, augment, model, loss, optimizer, schedule, train"
    assert lines[0] == "--set loss: write `section.key=value`, as `--set train.epochs=5`"
    assert sorted(lines[1:]) == sorted(
        [
            "data.sorce = 'digits': unknown key (did you mean source?); "
            "known: source, train, test, root, on_bad, image_size, fit, val_fraction, "
            "test_fraction, split_seed and 1 other",
            f"augmnt: unknown section (did you mean augment?); known: {sections}",
            f"trian: unknown section (did you mean train?); known: {sections}",
            "data.source: required, but not given; add `--set data.source=VALUE`",
            "data.val_fraction = 0.9: should be less than or equal to 0.5",
            "augment.flip = 'alternatin': should be 'none', 'random' or 'alternating' "
            "(did you mean alternating?)",
            "optimizer.lr = 'fast': should be a valid number",
            "optimizer.nesterov = 'no': should be a valid boolean",
            "optimizer.momentum = True: should be a valid number",
            "schedule = 5: should hold keys, which may be name, warmup_fraction, warmup_start, final_factor, "
            "step_epochs, milestones, step_factor and 1 other",
            "train.epochs: required, but not given; add `--set train.epochs=VALUE`",
            "train.batch_size = 12.5: should be a valid integer",
            "train.precision = 'float3': should be 'auto', 'float32', 'float64', 'bf16' or 'fp16' "
            "(did you mean float32?)",
            "train.channels_last = 'autp': should be 'auto' or should be a valid boolean "
            "(did you mean auto?)",
            "train.seed = -1: should be greater than or equal to 0",
            "no simplenet here",
        ]
    )


def test_sections_that_disagree() -> None:
    changes = {"train.accumulate": 5, "train.early_stop_epochs": 2, "data.val_fraction": 0}
    assert problems(BASE, changes) == (
        "recipe: train.accumulate: 5 does not divide train.batch_size 128; try `--set train.accumulate=4`",
        "recipe: train.early_stop_epochs: 2 needs validation images, but data.val_fraction is 0; "
        "leave out one of the two",
    )


def test_missing_sections() -> None:
    required = ("model.name", "optimizer.lr", "train.epochs", "data.source")
    assert problems({}) == tuple(
        f"recipe: {key}: required, but not given; add `--set {key}=VALUE`" for key in required
    )


@pytest.mark.parametrize("key", [5, None, True])
def test_keys_that_are_not_text(key: object) -> None:
    found = problems({**BASE, key: 1})
    assert len(found) == 1
    assert found[0].startswith(f"recipe: {key}: unknown section; known: data, ")
    found = problems({**BASE, "train": {"epochs": 1, key: 1}})
    assert len(found) == 1
    assert found[0].startswith(f"recipe: train.{key} = 1: unknown key; known: epochs, ")


def test_a_tuple_of_the_wrong_length_names_its_value() -> None:
    found = problems({**BASE, "model": {"name": "x", "mean": [0.5, 0.5]}})
    assert all(problem.startswith("recipe: model.mean = [0.5, 0.5]: ") for problem in found)


def test_a_word_where_a_list_belongs() -> None:
    found = problems({**BASE, "train": {"epochs": 1, "freeze": "backbone"}})
    assert found == ("recipe: train.freeze = 'backbone': should be a list, as [backbone]",)


def test_a_loss_of_ones_own_says_how_to_leave_out_what_the_recipe_has() -> None:
    found = problems("digits", ["loss.name=mine:loss", "loss.class_weights=balanced"])
    assert [problem.rpartition("; ")[2] for problem in found] == [
        "give `--set loss.label_smoothing=0`",
        "give `--set loss.class_weights=null`",
    ]


def refused(name: str) -> str:
    return f"no {name} here"


def test_networks_are_checked_where_they_are_given() -> None:
    other = {**BASE, "model": {"name": "resnet81"}}
    assert load_recipe(other).model.name == "resnet81"
    assert load_recipe(BASE, network_problem=lambda name: None).model.name == "simple_net"
    assert problems(other, network_problem=refused) == ("recipe: no resnet81 here",)
    assert problems({**BASE, "model": {"name": 18}}, network_problem=refused) == (
        "recipe: model.name = 18: should be a valid string",
    )


# --- overrides ------------------------------------------------------------------------------------


def test_overrides_change_a_copy() -> None:
    text = ["optimizer.lr=1e-3", "augment.flip=random", " train.epochs =7", "model.mean=[0.1, 0.2, 0.3]"]
    recipe = load_recipe(BASE, text)
    assert (recipe.optimizer.lr, recipe.augment.flip, recipe.train.epochs) == (1e-3, "random", 7)
    assert recipe.model.mean == (0.1, 0.2, 0.3)
    mapping = {
        "optimizer.lr": 1e-3,
        "augment.flip": "random",
        "train.epochs": 7,
        "model.mean": (0.1, 0.2, 0.3),
    }
    assert load_recipe(BASE, mapping) == recipe
    assert BASE["train"] == {"epochs": 3}
    assert "augment" not in BASE
    assert load_recipe(recipe, ["train.epochs=8"]).train.epochs == 8
    assert recipe.train.epochs == 7


def test_the_last_override_of_a_field_counts() -> None:
    assert load_recipe(BASE, ["train.epochs=7", "train.epochs=9"]).train.epochs == 9
    assert load_recipe(BASE, ["train.ema_decay=0.9", "train.ema_decay=null"]).train.ema_decay is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train.epochs", "--set train.epochs: write `section.key=value`, as `--set train.epochs=5`"),
        ("epochs=3", "--set epochs: write `section.key=value`, as `--set train.epochs=5`"),
        ("=3", "--set : write `section.key=value`, as `--set train.epochs=5`"),
        ("train.epochs=[", "--set train.epochs=[: '[' is not a YAML value; put it in quotes"),
        ("data.source=*x", "--set data.source=*x: '*x' is not a YAML value; put it in quotes"),
        (
            "data.source=2020-13-45",
            "--set data.source=2020-13-45: '2020-13-45' is not a YAML value; put it in quotes",
        ),
        ("train.epochs=", "train.epochs = None: should be a valid number"),
        ("train.batch_size=1e1", "train.batch_size = 10.0: should be a valid integer"),
    ],
)
def test_overrides_that_are_refused(text: str, problem: str) -> None:
    assert problems(BASE, [text]) == (f"recipe: {problem}",)


@given(st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_any_number_is_read_as_it_is_written(number: float) -> None:
    assert load_recipe(BASE, [f"optimizer.lr={number!r}"]).optimizer.lr == number


@given(texts)
@settings(deadline=None)
def test_any_text_is_read_as_it_is_quoted(text: str) -> None:
    quoted = json.dumps(text, ensure_ascii=False)
    assert load_recipe(BASE, [f"data.source={quoted}"]).data.source == text


@given(
    names,
    st.sampled_from(["1e5", "-1E-3", ".5e3", "1.e2", "null", "true", "0x10", "12", "1:30", "2020-01-01", "~"])
    | texts,
    st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.just("auto") | st.tuples(fractions, fractions, fractions),
    st.tuples(fractions, fractions),
    st.booleans() | st.just("auto"),
)
@settings(deadline=None)
def test_a_written_recipe_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    source: str,
    ema_decay: float | None,
    mean: Any,
    betas: Any,
    channels_last: Any,
) -> None:
    changes = {
        "data.source": source,
        "train.ema_decay": ema_decay,
        "model.mean": mean,
        "optimizer.betas": betas,
        "train.channels_last": channels_last,
    }
    recipe = load_recipe({"name": name, **BASE}, changes)
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(dump_recipe(recipe), "utf-8")
    assert load_recipe(path) == recipe


# --- explained ------------------------------------------------------------------------------------


def test_explain_marks_what_was_changed() -> None:
    rows = explain_recipe(load_recipe(BASE, ["augment.flip=random", "train.seed=0"]))
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows)
    assert {path for path, row in by_path.items() if row["changed"]} == {
        "data.source",
        "augment.flip",
        "model.name",
        "optimizer.lr",
        "train.epochs",
    }
    assert by_path["augment.flip"]["value"] == "random"
    assert by_path["augment.flip"]["default"] == "none"
    assert by_path["train.epochs"]["default"] == "required"
    assert by_path["train.epochs"]["description"].startswith("passes over the training images")
    assert not by_path["train.seed"]["changed"]


def test_explain_names_every_field() -> None:
    dumped = load_recipe(BASE).model_dump(exclude={"name"})
    paths = [f"{section}.{key}" for section, fields in dumped.items() for key in fields]
    assert [row["path"] for row in explain_recipe(Recipe.model_validate(BASE))] == paths


def test_fields_that_contradict_each_other_are_told_with_those_that_are_wrong_alone() -> None:
    changes = ["optimizer.lr=-1", "train.save_every_epochs=0", "train.keep_checkpoints=2"]
    changes += ["train.accumulate=3", "train.early_stop_epochs=4", "data.val_fraction=0"]
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", changes)
    told = [re.match(r"digits: ([\w.]+)", problem) for problem in caught.value.problems]
    assert [found and found[1] for found in told] == [
        "optimizer.lr",
        "train.save_every_epochs",
        "train.accumulate",
        "train.early_stop_epochs",
    ], "keep_checkpoints is not blamed for what save_every_epochs would be"
    for section in (["train=1"], ["data=[1]"]):
        with pytest.raises(RecipeError):
            load_recipe("digits", section)
    with pytest.raises(RecipeError):
        load_recipe({"data": 3, "train": None, "model": {"name": "simple_net"}, "optimizer": {"lr": 1}})
