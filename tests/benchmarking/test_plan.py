"""What a second call with the same folder takes over, and the command that measures the same."""

from pathlib import Path

import pytest

from pictorch.benchmarking.plan import changes_of, command, read_plan, settled, source_of, write_plan
from pictorch.errors import CheckpointError, RecipeError

BEGUN = {"models": ["lenet"], "epochs": 2, "seeds": 1, "set": ["train.threads=1"], "data": None}
DEFAULTS = dict.fromkeys(BEGUN)


def test_a_second_call_goes_on_with_what_was_begun() -> None:
    folder = write_plan("zoo", "zoo", BEGUN)
    plan = read_plan(folder, "zoo")
    assert settled(plan, {}, DEFAULTS, may_change=(), out=folder) == BEGUN
    more = settled(plan, {"seeds": 3, "epochs": 2}, DEFAULTS, may_change=("seeds",), out=folder)
    assert more == {**BEGUN, "seeds": 3}
    with pytest.raises(RecipeError, match=r"--epochs 3: zoo was begun with 2; leave out --epochs"):
        settled(plan, {"epochs": 3}, DEFAULTS, may_change=("seeds",), out=folder)
    with pytest.raises(RecipeError, match=r"--set \[train\.threads=2\]: zoo was begun with"):
        settled(plan, {"set": ["train.threads=2"]}, DEFAULTS, may_change=(), out=folder)


def test_only_a_folder_of_the_same_kind_is_gone_on_with() -> None:
    assert read_plan(None, "zoo") == read_plan("not there", "zoo") == {}
    Path("empty").mkdir()
    assert read_plan("empty", "zoo") == {}
    write_plan("ladder", "ladder", BEGUN)
    Path("other").mkdir()
    Path("other/file").touch()
    for out in ("ladder", "other", "other/file"):
        with pytest.raises(RecipeError, match=f"--out {out} is not empty and no folder of `bench zoo`"):
            read_plan(out, "zoo")
    Path("ladder/plan.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_plan("ladder", "ladder")


def test_folders_are_numbered() -> None:
    assert [str(write_plan(None, "zoo", {})) for _ in range(2)] == ["runs/zoo-001", "runs/zoo-002"]


@pytest.mark.parametrize("key", ["seeds", "steps", "epochs"])
def test_numbers_below_one_are_refused(key: str) -> None:
    for value in (0, -1):
        with pytest.raises(RecipeError, match=f"--{key} {value} leaves nothing to measure"):
            settled({}, {key: value}, {key: None}, may_change=(), out=None)
    assert settled({}, {key: 1}, {key: None}, may_change=(), out=None) == {key: 1}


def test_paths_are_kept_whole_and_told_short() -> None:
    Path("my photos").mkdir()
    assert source_of("my photos") == str(Path("my photos").resolve())
    assert (source_of("digits"), source_of(None), source_of("not there")) == ("digits", None, "not there")
    settings = {**BEGUN, "data": source_of("my photos"), "device": None}
    assert command("zoo", settings) == (
        "pictorch bench zoo --models lenet --epochs 2 --seeds 1 --set train.threads=1 --data 'my photos'"
    )


def test_an_argument_without_a_flag_is_told_by_its_name() -> None:
    begun = {"recipe": "own.yaml", "seeds": 1}
    with pytest.raises(RecipeError, match=r"RECIPE b: out was begun with own\.yaml; leave out RECIPE, or"):
        settled(begun, {"recipe": "b"}, {}, may_change=(), out="out", places=("recipe",))
    assert command("speedrun", {"seeds": 1}, "own.yaml") == "pictorch bench speedrun own.yaml --seeds 1"


def test_overrides_become_words() -> None:
    assert changes_of(()) is None
    assert changes_of({"train.compile": True, "model.mean": [0.5, 0.5, 0.5]}) == [
        "train.compile=true", "model.mean=[0.5, 0.5, 0.5]",
    ]  # fmt: skip
    assert changes_of(["a.b=1", ("c.d", 1e-5)]) == ["a.b=1", "c.d=1e-05"]
