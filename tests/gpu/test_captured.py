"""A step that is replayed as a CUDA graph, against the plain one."""

from typing import Any

import pytest
import torch

from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.start import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

QUIET = Console("quiet")


def losses(run: str) -> list[float]:
    """Returns the loss of every step, and after each epoch that of the validation."""
    lines = RunFolder.open(run).metrics()
    return [line["loss"] if line["kind"] == "step" else line["val_loss"] for line in lines]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer.name": "adamw", "optimizer.lr": 1e-3, "train.clip_norm": 1.0, "train.ema_decay": 0.9},
        {"model.name": "cifar10_cnn", "augment.mixup": 0.2, "augment.sizes": [[16, 0.4]]},
        {"model.name": "cifar10_cnn", "model.dropout": 0.5},
        {"train.freeze": ["backbone"], "train.unfreeze_epoch": 1},
        {"optimizer.name": "muon", "optimizer.muon_fixed_norm": True, "model.name": "cifar10_cnn"},
    ],
)
def test_replayed_and_plain_steps_give_equal_losses(changes: dict[str, Any]) -> None:
    """Dropout too: its seed is set before each replay."""
    recipe: dict[str, Any] = {
        "name": "short",
        "data": {"source": "digits", "image_size": 32},
        "augment": {"crop_padding": 1},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.02},
        "schedule": {"name": "linear"},
        "train": {
            "epochs": 2.5, "batch_size": 128, "device": "cuda", "precision": "float32", "log_every_steps": 1,
        },
    }  # fmt: skip
    for out, graph in (("plain", False), ("replayed", True)):
        train(recipe, out=out, set={**changes, "train.cuda_graph": graph}, console=QUIET)
    assert RunFolder.open("replayed").environment()["auto"]["train.cuda_graph"]["value"] is True
    assert losses("replayed") == pytest.approx(losses("plain"), rel=2e-2), "to the bits of single kernels"
    assert losses("replayed")[:5] == pytest.approx(losses("plain")[:5], rel=1e-4)


def test_auto_replays_a_small_network_and_a_run_goes_on() -> None:
    recipe: dict[str, Any] = {
        "name": "long",
        "data": {"source": "digits"},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.02},
        "train": {"epochs": 100, "batch_size": 128, "device": "cuda", "precision": "bf16"},
    }
    result = train(recipe, out="run", console=QUIET)
    assert RunFolder.open("run").environment()["auto"]["train.cuda_graph"]["value"] is True
    assert result.val_accuracy is not None
    assert result.val_accuracy > 0.9
    assert train(resume="run", epochs=102, console=QUIET).epochs == 102
