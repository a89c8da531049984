"""A captured step does what the plain one does.

There is no GPU here. In its place a tape records every operation that torch does in a step, and replays them
in the same memory without running Python, as a CUDA graph does; tests/gpu has the real one.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pictorch.run_folder import RunFolder
from pictorch.training import captured, loop
from pictorch.training.captured import WARM_UP_STEPS, CapturedStep, Outputs
from pictorch.training.sgd import FusedSGD
from pictorch.training.start import train
from stopped_run import QUIET, stopped_copy


class Tape(TorchDispatchMode):
    """Does what it records, so the first replay has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.replays = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, outputs))
        return outputs

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, outputs in self.calls if self.replays else ():
            pairs = zip(tree_leaves(outputs), tree_leaves(func(*args, **kwargs)), strict=True)
            for old, new in pairs:
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    @property
    def asks_the_cpu(self) -> bool:
        """Whether a value came back to Python, which a CUDA graph refuses."""
        return any("_local_scalar_dense" in str(func) for func, *_ in self.calls)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """The tapes that stand in for CUDA graphs, as they are made."""
    made: list[Tape] = []

    def record(work: Callable[[], Outputs]) -> Callable[[], Outputs]:
        made.append(Tape())
        with torch.no_grad(), made[-1], torch.enable_grad():
            outputs = work()

        def replay() -> Outputs:
            with torch.no_grad():
                tape.replay()
            return outputs

        tape = made[-1]
        return replay

    monkeypatch.setattr(captured, "record", record)
    return made


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets trainings on the CPU capture their steps."""
    build = loop.build_session

    def build_session(*args: Any, **options: Any) -> Any:
        session = build(*args, **options)
        session.captured = CapturedStep(session.optimizer)
        return session

    monkeypatch.setattr(loop, "build_session", build_session)


@pytest.fixture
def recipe(plain_recipe: dict[str, Any]) -> dict[str, Any]:
    """Twelve steps whose rate falls, of images that are mixed, with an average and a limit."""
    plain_recipe["augment"] = {"mixup": 0.2, "crop_padding": 1}
    plain_recipe["loss"] = {"l1": 1e-4}
    plain_recipe["schedule"] = {"name": "linear"}
    plain_recipe["train"] |= {"epochs": 2.4, "batch_size": 256, "clip_norm": 1.0, "ema_decay": 0.8}
    plain_recipe["train"]["log_every_steps"] = 3
    return plain_recipe


def assert_alike(one: str, other: str) -> None:
    """Rates lie in memory as float32, so equal bits are too much to ask."""
    metrics = [RunFolder.open(run).metrics() for run in (one, other)]
    assert len(metrics[0]) == len(metrics[1]) > 4
    for plain, replayed in zip(*metrics, strict=True):
        for key in ("loss", "lr", "gradient_norm", "train_loss", "train_accuracy", "val_loss"):
            if key in plain:
                assert replayed[key] == pytest.approx(plain[key], rel=1e-5), (plain["step"], key)


@pytest.mark.slow
def test_a_replayed_training_is_the_plain_one(
    recipe: dict[str, Any], tapes: list[Tape], monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    train(recipe, out="plain", console=QUIET)
    request.getfixturevalue("capturing")
    train(recipe, out="replayed", console=QUIET)
    (tape,) = tapes
    assert tape.replays == 12 - WARM_UP_STEPS - 1
    assert not tape.asks_the_cpu
    assert_alike("plain", "replayed")
    stopped_copy(recipe, RunFolder.open("plain").path.parent / "stopped", 7)
    assert train(resume="stopped", console=QUIET).steps == 12
    assert_alike("plain", "stopped")
    groups = torch.load("stopped/checkpoints/last/state.pt", weights_only=True)["optimizer"]["param_groups"]
    assert all(isinstance(group["lr"], float) for group in groups), "saved as ever"


@pytest.mark.slow
def test_muon_and_what_freezes_on_the_way(
    recipe: dict[str, Any], tapes: list[Tape], request: pytest.FixtureRequest
) -> None:
    """Before and after the stem freezes it is another step; the second one replays three times."""
    recipe["optimizer"] = {"name": "muon", "lr": 0.05, "muon_fixed_norm": True, "norm_bias_lr_factor": 2}
    recipe["train"] |= {"freeze": ["conv1.*"], "freeze_epoch": 1}
    train(recipe, out="plain", console=QUIET)
    request.getfixturevalue("capturing")
    train(recipe, out="replayed", console=QUIET)
    assert [tape.replays for tape in tapes] == [5 - WARM_UP_STEPS - 1, 7 - WARM_UP_STEPS - 1]
    assert not any(tape.asks_the_cpu for tape in tapes)
    assert_alike("plain", "replayed")


def test_each_size_of_images_is_captured_by_itself(tapes: list[Tape]) -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = FusedSGD([{"params": [weight]}], lr=1.0, momentum=0.0, nesterov=False)
    step = CapturedStep(optimizer)

    def learn(images: Tensor, labels: Tensor) -> Outputs:
        loss = weight * (images.sum() + labels.sum())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach(), None

    expected = 0.0
    for number, side in enumerate((2, 2, 3, 2, 3, 3, 2, 3, 2, 3, 3)):
        optimizer.param_groups[0]["lr"] = rate = 1 / 2**number
        loss, norm = step(learn, torch.full((side, side), float(number)), torch.ones(()))
        gradient = number * side**2 + 1
        assert (loss.item(), norm) == (expected * gradient, None)
        expected -= rate * gradient
        assert weight.item() == expected
    assert [tape.replays for tape in tapes] == [1, 2]
    assert not any(tape.asks_the_cpu for tape in tapes)
    assert optimizer.param_groups[0]["lr"] == rate
