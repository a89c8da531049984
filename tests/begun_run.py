"""A run folder that has begun, with records as short as can be."""

from pictorch.recipe import Recipe
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder

SEGMENTS = [{"first_epoch": 0, "epochs": 3, "peak_factor": 1.0}]


def made_recipe(name: str = "own") -> Recipe:
    sections = {"data": {"source": "digits"}, "model": {"name": "simple_net"}, "optimizer": {"lr": 1e-5}}
    return load_recipe({"name": name, **sections, "train": {"epochs": 3}})


def begin(run: RunFolder, recipe: Recipe | None = None) -> None:
    run.begin(
        recipe or made_recipe(),
        command=["pictorch", "train", "not UTF-8: \udcff"],
        network={"name": "simple_net", "parameters": 25578},
        environment={"threads": 2},
        data={"source": "digits", "class_names": ["0", "1"], "fingerprint": "f", "counts": {}, "input": {}},
        segments=SEGMENTS,
    )
