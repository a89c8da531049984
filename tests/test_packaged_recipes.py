"""The packaged recipes: the tutorials' own settings stand in them, and each network takes its images."""

import json
from pathlib import Path
from typing import Any

import pytest

from pictorch.images import InputSpec
from pictorch.networks import build_network, name_problem
from pictorch.recipe.files import dump_recipe, load_recipe, packaged_recipes, recipe_header

_HALF = (0.5, 0.5, 0.5)
_SCALED_ONLY = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_ADAMW = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "betas": (0.9, 0.999)}
_CONSTANT = {"name": "constant", "warmup_fraction": 0.0}
_PLAIN = {"flip": "none", "crop_padding": 0}

# What the five articles state: recipe, section, fields. E states no optimiser.
TUTORIALS: dict[str, dict[str, dict[str, Any]]] = {
    "tutorial-a-cnn": {
        "model": {"name": "cifar10_cnn", "mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)},
        "augment": {"flip": "random", "crop_padding": 4, "crop_fill": "zero"},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
        "schedule": {"name": "step", "step_epochs": 30, "step_factor": 0.1},
        "train": {"epochs": 100, "batch_size": 128, "save_every_epochs": 1},
    },
    "tutorial-b-alexnet": {
        "data": {"image_size": 256},
        "model": {"name": "alexnet", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        "augment": {"flip": "random", "crop_padding": 0},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
        "schedule": _CONSTANT,
        "train": {"epochs": 10, "batch_size": 64, "save_every_epochs": 1},
    },
    "tutorial-c-net": {
        "model": {"name": "lenet", "mean": _HALF, "std": _HALF},
        "augment": _PLAIN,
        "optimizer": {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "schedule": _CONSTANT,
        "train": {"epochs": 10, "batch_size": 64},
    },
    "tutorial-d1-small-cnn": {
        "model": {"name": "small_bn_cnn", **_SCALED_ONLY},
        "augment": _PLAIN,
        "optimizer": _ADAMW,
        "schedule": _CONSTANT,
        "train": {"epochs": 100, "batch_size": 8},
    },
    "tutorial-d2-resnet34": {
        "model": {"name": "resnet34", "weights": None, **_SCALED_ONLY},
        "augment": _PLAIN,
        "optimizer": _ADAMW,
        "schedule": _CONSTANT,
        "train": {"epochs": 100, "batch_size": 8},
    },
    "tutorial-d3-resnet34-fast": {
        "model": {"name": "resnet34", "weights": None, **_SCALED_ONLY},
        "augment": _PLAIN,
        "optimizer": _ADAMW,
        "schedule": _CONSTANT,
        "train": {"epochs": 100, "batch_size": 256, "precision": "auto"},
    },
    "tutorial-d4-resnet34-imagenet": {
        "model": {
            "name": "resnet34", "weights": "imagenet", "stem_weights": "new", "head_weights": "new",
            **_SCALED_ONLY,
        },
        "augment": _PLAIN,
        "optimizer": _ADAMW,
        "schedule": _CONSTANT,
        "train": {"epochs": 100, "batch_size": 256},
    },
    "tutorial-e-simplenet": {
        "model": {"name": "simple_net", "mean": _HALF, "std": _HALF},
        "augment": _PLAIN,
        "train": {"epochs": 1, "batch_size": 32, "log_every_steps": 100},
    },
}  # fmt: skip

# Parameters of each recipe's network for the 10 classes of CIFAR-10.
PARAMETERS = {
    "cifar10-cnn": 2_168_746,
    "cifar10-efficientnet": 4_020_358,
    "cifar10-fast90": 569_656,
    "cifar10-fast94": 1_972_792,
    "cifar10-fast96": 9_918_776,
    "cifar10-lenet": 62_006,
    "cifar10-mobilenet": 2_236_682,
    "cifar10-resnet18": 11_173_962,
    "cifar10-resnet34": 21_282_122,
    "cifar10-resnet34-finetune": 21_289_802,  # its stem is ImageNet's, of 7x7 pixels
    "cifar10-simple-net": 25_578,
    "cifar10-small-cnn": 81_346,
    "digits": 202_666,  # images of 8x8 pixels leave the first linear layer 256 inputs
    "folder-finetune": 11_181_642,
    "folder-resnet18": 11_181_642,
    "folder-small": 11_181_642,
    "tutorial-a-cnn": 2_168_746,
    "tutorial-b-alexnet": 57_044_810,
    "tutorial-c-net": 62_006,
    "tutorial-d1-small-cnn": 81_346,
    "tutorial-d2-resnet34": 21_282_122,
    "tutorial-d3-resnet34-fast": 21_282_122,
    "tutorial-d4-resnet34-imagenet": 21_282_122,
    "tutorial-e-simplenet": 25_578,
}


@pytest.mark.parametrize(
    ("name", "section"), [(name, section) for name, stated in TUTORIALS.items() for section in stated]
)
def test_a_tutorials_recipe_has_the_tutorials_settings(name: str, section: str) -> None:
    values = getattr(load_recipe(name), section)
    stated = TUTORIALS[name][section]
    assert {field: getattr(values, field) for field in stated} == stated


def test_the_tutorials_validate_on_training_images() -> None:
    for name in TUTORIALS:
        recipe = load_recipe(name)
        assert (recipe.data.source, recipe.data.val_fraction) == ("cifar10", 0.1)


def test_every_packaged_recipe_is_known_here() -> None:
    assert sorted(PARAMETERS) == packaged_recipes()
    assert {name for name in packaged_recipes() if name.startswith("tutorial-")} == TUTORIALS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_network_of_a_recipe_takes_its_images(name: str) -> None:
    recipe = load_recipe(name)
    stored_size = 8 if name == "digits" else 32
    spec = InputSpec(stored_size=stored_size, image_size=recipe.data.image_size or stored_size)
    network = build_network(recipe.model, 10, spec)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_packaged_recipe_loads_and_reads_back_equal(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, network_problem=name_problem)
    assert recipe.name == name
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(copy) == recipe
    assert load_recipe(recipe) == recipe
    assert load_recipe(recipe.model_dump()) == recipe
    assert load_recipe(json.loads(recipe.model_dump_json())) == recipe


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_packaged_recipe_says_its_command_and_its_score(name: str) -> None:
    header = recipe_header(name)
    assert f"command: pictorch train {name}" in header
    assert ("test accuracy: " in header) != ("goal: " in header), "measured, or a goal until it is"
    assert not header.startswith("#")
