"""A recipe with data.train and data.test, from training to the bundle, and after its images were moved."""

import json
import shutil
from pathlib import Path

import pytest

import pictorch
from made_data import write_classes
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console

RECIPE = {
    "name": "two",
    "data": {"train": "mine", "test": "theirs"},
    "model": {"name": "simple_net"},
    "optimizer": {"lr": 0.05},
    "train": {"epochs": 1, "batch_size": 4, "threads": 1, "device": "cpu"},
}


@pytest.mark.slow
def test_every_stage_finds_both_and_a_folder_of_both_stands_for_them(tmp_path: Path) -> None:
    write_classes(Path("mine"), {"a": 8, "b": 8})
    write_classes(Path("theirs"), {"b": 3, "a": 2}, seed=99)
    pictorch.train(RECIPE, out="run", console=Console("quiet"))
    run = RunFolder.open("run")
    assert (run.recipe().data.train, run.recipe().data.test) == (f"{tmp_path}/mine", f"{tmp_path}/theirs")
    assert run.data()["counts"] == {"train": 14, "val": 2, "test": 5}
    assert run.data()["origin"] == f"image folder {tmp_path}/mine, tested on image folder {tmp_path}/theirs"
    judged = pictorch.evaluate("run", split="test")
    assert judged.n == 5
    bundle = pictorch.export("run")
    assert [bundle.recipe["data"][key] for key in ("source", "train", "test")] == [None, "mine", "theirs"]
    card = (Path("run/bundle/MODEL_CARD.md")).read_text()
    assert "trained by pictorch on `mine`, tested on `theirs`" in card
    assert str(tmp_path) not in json.dumps(bundle.recipe)

    Path("moved").mkdir()
    shutil.move("mine", "moved/train")
    shutil.move("theirs", "moved/test")
    assert pictorch.evaluate("run", split="test", data="moved").accuracy == judged.accuracy
    assert pictorch.train(resume="run", epochs=2, data="moved", console=Console("quiet")).epochs == 2
    recipe = Path("run/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("/mine", "/moved/train").replace("/theirs", "/moved/test"))
    assert pictorch.evaluate("run", split="test", checkpoint="last").n == 5
    assert pictorch.evaluate("run/bundle", split="test", data="moved", out="judged").n == 5
