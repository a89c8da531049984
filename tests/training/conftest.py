"""Small trainings: one uses everything a checkpoint must keep, one is for exact comparisons."""

from typing import Any

import pytest


@pytest.fixture
def busy_recipe() -> dict[str, Any]:
    """Dropout, averaging, accumulation, AdamW, every augmentation, early stopping; 20 steps an epoch."""
    return {
        "name": "busy",
        "data": {"source": "digits", "test_fraction": 0.2},
        "augment": {"flip": "random", "crop_padding": 1, "cutout": 2},
        "model": {"name": "cifar10_cnn", "dropout": 0.5},
        "loss": {"label_smoothing": 0.1},
        "optimizer": {"name": "adamw", "lr": 4e-3, "weight_decay": 0.05},
        "schedule": {"name": "cosine", "warmup_fraction": 0.25},
        "train": {
            "epochs": 4,
            "batch_size": 64,
            "accumulate": 2,
            "ema_decay": 0.9,
            "clip_norm": 5.0,
            "log_every_steps": 7,
            "seed": 3,
            "threads": 1,
        },
    }


@pytest.fixture
def lean_recipe(busy_recipe: dict[str, Any]) -> dict[str, Any]:
    """The same in batches of half the size, on half of the images: still 20 steps an epoch."""
    busy_recipe["data"] |= {"test_fraction": 0.5, "val_fraction": 0.28}
    busy_recipe["train"]["batch_size"] = 32
    return busy_recipe


@pytest.fixture
def plain_recipe() -> dict[str, Any]:
    """A network without batch norm or dropout, in float64, for exact comparisons; 20 steps an epoch."""
    return {
        "name": "plain",
        "data": {"source": "digits"},
        "model": {"name": "simple_net"},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "schedule": {"name": "constant"},
        "train": {"epochs": 1, "batch_size": 64, "precision": "float64", "threads": 1, "log_every_steps": 5},
    }
