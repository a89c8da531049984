"""The loop does what the recipe says, records what it did, and gives the same bits each time."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictorch import durable
from pictorch.errors import DivergedError, ResourceError
from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.recipe import ModelSection
from pictorch.run_folder import RunFolder
from pictorch.training import loop
from pictorch.training.console import Console
from pictorch.training.optimizers import OPTIMIZERS
from pictorch.training.start import train

QUIET = Console("quiet")


def epochs_of(run: str | Path) -> list[dict[str, Any]]:
    return [line for line in RunFolder.open(run).metrics() if line["kind"] == "epoch"]


def weights_of(run: str | Path, checkpoint: str = "last") -> bytes:
    return (Path(run) / "checkpoints" / checkpoint / "model.safetensors").read_bytes()


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(busy_recipe: dict[str, Any]) -> None:
    busy_recipe["train"] |= {"epochs": 0.3}
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(busy_recipe, out=out, seed=seed, console=QUIET)
    assert weights_of("a") == weights_of("b") != weights_of("c")
    assert Path("a/metrics.jsonl").read_bytes() == Path("b/metrics.jsonl").read_bytes()
    assert RunFolder.open("a").data()["split_hashes"] == RunFolder.open("c").data()["split_hashes"]


def test_accumulation_changes_nothing_but_memory(plain_recipe: dict[str, Any]) -> None:
    plain_recipe["train"]["epochs"] = 0.3
    train(plain_recipe, out="whole", console=QUIET)
    train(plain_recipe, out="parts", set={"train.accumulate": 4}, console=QUIET)
    (whole,), (parts,) = epochs_of("whole"), epochs_of("parts")
    assert parts["train_loss"] == pytest.approx(whole["train_loss"], abs=1e-12)
    assert parts["gradient_norm"] == pytest.approx(whole["gradient_norm"], abs=1e-9)


def test_one_step_is_plain_pytorch(plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of the loop against the same step written out by hand."""
    taken = []

    def by_hand(session: Any, **options: Any) -> Any:
        weights = [p.detach().clone() for p in session.network.parameters()]
        images, labels = session.batches.batch(0, session.position.step_in_epoch)
        loss = torch.nn.functional.cross_entropy(session.network(images), labels)
        gradients = torch.autograd.grad(loss, list(session.network.parameters()))
        expected = [
            w - 0.05 * 1.9 * g for w, g in zip(weights, gradients, strict=True)
        ]  # Nesterov, first step
        norm = real(session, measure_norm=True)
        if not taken:
            for parameter, value in zip(session.network.parameters(), expected, strict=True):
                torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=1e-12)
            total = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type]
            torch.testing.assert_close(norm, total)
            assert session.losses[0].item() == pytest.approx(loss.item(), abs=1e-12)
        taken.append(loss)
        return norm

    real = loop.train_step
    monkeypatch.setattr(loop, "train_step", by_hand)
    train(plain_recipe, out="run", console=QUIET)
    assert len(taken) == 22


def test_penalty_and_class_weights_do_not_depend_on_the_parts(plain_recipe: dict[str, Any]) -> None:
    plain_recipe |= {"loss": {"class_weights": {"3": 5.0}, "l1": 0.1}}
    plain_recipe["train"] |= {"batch_size": 600, "epochs": 2}
    train(plain_recipe, out="whole", console=QUIET)
    train(plain_recipe, out="parts", set={"train.accumulate": 5}, console=QUIET)
    for whole, parts in zip(epochs_of("whole"), epochs_of("parts"), strict=True):
        assert parts["train_loss"] == pytest.approx(whole["train_loss"], abs=1e-12)
        assert parts["gradient_norm"] == pytest.approx(whole["gradient_norm"], abs=1e-9)


def test_l1_pulls_every_weight_and_is_not_in_the_recorded_loss(plain_recipe: dict[str, Any]) -> None:
    """So strong that it outweighs the loss: the gradient of each weight is then about 1000."""
    plain_recipe["train"] |= {"batch_size": 2000, "accumulate": 2}
    train(plain_recipe, out="without", console=QUIET)
    train(plain_recipe, out="with", set={"loss.l1": 1000.0}, console=QUIET)
    (without,), (pulled,) = epochs_of("without"), epochs_of("with")
    assert pulled["train_loss"] == without["train_loss"], "of one step"
    network = build_network(ModelSection(name="simple_net"), 10, InputSpec(stored_size=8, image_size=8))
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert pulled["gradient_norm"] == pytest.approx(1000 * weights**0.5, rel=1e-3)


def test_each_group_has_its_own_peak(plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = loop.train_step

    def train_step(session: Any, **options: Any) -> Any:
        norm = real(session, **options)
        seen.append([group["lr"] for group in session.optimizer.param_groups])
        return norm

    monkeypatch.setattr(loop, "train_step", train_step)
    plain_recipe["optimizer"] |= {"name": "muon", "lr": 0.1, "muon_lr": 0.02, "backbone_lr_factor": 0.5}
    plain_recipe["schedule"] = {"name": "multi_step", "milestones": [1], "step_factor": 0.1}
    plain_recipe["train"] |= {"batch_size": 2000, "epochs": 2}
    train(plain_recipe, out="run", console=QUIET)
    assert seen == [pytest.approx([0.01, 0.1, 0.05]), pytest.approx([0.001, 0.01, 0.005])]
    assert [line["lr"] for line in epochs_of("run")] == pytest.approx([0.1, 0.01])


def test_gradient_is_clipped(plain_recipe: dict[str, Any]) -> None:
    plain_recipe["optimizer"] |= {"momentum": 0.0, "lr": 1.0}
    plain_recipe["train"] |= {"clip_norm": 1e-9}
    train(plain_recipe, out="run", console=QUIET)
    (epoch,) = epochs_of("run")
    assert epoch["gradient_norm"] > 0.1, "the norm is that before clipping"
    steps = [line["loss"] for line in RunFolder.open("run").metrics() if line["kind"] == "step"]
    assert max(steps) < 2.5, "a step of length 1e-9 cannot move the loss"
    assert min(steps) > 2.1


@pytest.mark.parametrize(
    ("precision", "channels_last"),
    [
        ("bf16", True),
        pytest.param("bf16", False, marks=pytest.mark.slow),
        pytest.param("float32", True, marks=pytest.mark.slow),
        ("float32", False),
        pytest.param("fp16", True, marks=pytest.mark.slow),  # slow on the CPU
        pytest.param("fp16", False, marks=pytest.mark.slow),
    ],
)
def test_it_learns_in_every_arithmetic(
    lean_recipe: dict[str, Any], precision: str, channels_last: bool
) -> None:
    lean_recipe["train"] |= {"epochs": 2, "precision": precision, "channels_last": channels_last}
    result = train(lean_recipe, out="run", console=QUIET)
    assert result.val_accuracy is not None
    assert result.val_accuracy > 0.5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler for torch.compile")
def test_it_learns_when_compiled(plain_recipe: dict[str, Any]) -> None:
    plain_recipe["train"] |= {"precision": "float32"}
    train(plain_recipe, out="plain", console=QUIET)
    train(plain_recipe, out="compiled", set={"train.compile": True}, console=QUIET)
    (plain,), (compiled,) = epochs_of("plain"), epochs_of("compiled")
    assert compiled["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-3)


def test_records_agree_with_each_other(busy_recipe: dict[str, Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    busy_recipe["model"] = {"name": "simple_net"}
    busy_recipe["train"] |= {"epochs": 3, "save_every_epochs": 2}
    result = train(busy_recipe, out="run", console=QUIET)
    run = RunFolder.open("run")
    epochs, steps = epochs_of("run"), [line for line in run.metrics() if line["kind"] == "step"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert [line["step"] for line in steps] == sorted({*range(7, 61, 7), 20, 40, 60})
    assert result.to_json()["val_accuracy"] == epochs[-1]["val_accuracy"]
    best = max(epochs, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    assert result.best_epoch == best["epoch"]
    assert best["best"] is True
    timing = run.timing()
    assert [line["step"] for line in timing if line["kind"] == "epoch"] == [20, 40, 60]
    assert all(line["images_per_second"] > 0 for line in timing)
    assert all(line["peak_memory_bytes"] > 10**7 for line in timing if line["kind"] == "epoch")

    view = EventAccumulator(str(run.tensorboard_path))
    view.Reload()
    for tag, key in (("loss/val", "val_loss"), ("accuracy/train", "train_accuracy")):
        seen = [(event.step, event.value) for event in view.Scalars(tag)]
        assert seen == [(line["step"], pytest.approx(line[key], rel=1e-6)) for line in epochs]
    seen = [(event.step, event.value) for event in view.Scalars("loss/step")]
    assert seen == [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in steps]
    assert run.checkpoints() == ["best", "last", "epoch-0002"]
    log = run.log_path.read_text()
    assert [line.endswith("  best") for line in log.splitlines()[-4:-1]] == [line["best"] for line in epochs]
    assert log.splitlines()[-1] == "finished after epoch 3"


def test_samples_are_real_training_images(busy_recipe: dict[str, Any]) -> None:
    from pictorch.datasets import load_splits
    from pictorch.recipe.files import load_recipe

    busy_recipe["train"] |= {"epochs": 0.1}
    train(busy_recipe, out="run", console=QUIET)
    samples = RunFolder.open("run").samples()
    splits = load_splits(load_recipe(busy_recipe).data)
    stored = {image.tobytes() for image in splits.train.images[splits.train.indices]}
    assert len(samples["images"]) == 32
    assert all(image.tobytes() in stored for image in samples["images"])
    assert np.mean(samples["images"] != samples["augmented"]) > 0.1


@pytest.mark.slow
def test_early_stopping(busy_recipe: dict[str, Any]) -> None:
    """With a rate of next to nothing no epoch is better than the first."""
    busy_recipe["optimizer"]["lr"] = 1e-30
    busy_recipe["train"] |= {"epochs": 9, "early_stop_epochs": 2, "ema_decay": None}
    busy_recipe["model"]["name"] = "simple_net"
    del busy_recipe["model"]["dropout"]
    result = train(busy_recipe, out="run", console=QUIET)
    assert result.stopped_by == "early_stop_epochs"
    assert (result.epochs, result.epochs_planned) == (3, 9)
    assert result.best_epoch == 1
    result = train(resume="run", epochs=6, console=QUIET)
    assert result.epochs == 5, "an added segment has the whole patience again"


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_good(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_recipe["train"] |= {"epochs": 3}
    real = loop.train_step

    def broken(session: Any, **options: Any) -> Any:
        norm = real(session, **options)
        if session.step == 25:
            session.losses[session.position.step_in_epoch] = float("nan")
        return norm

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(DivergedError) as error:
        train(plain_recipe, out="run", console=QUIET)
    assert "loss is nan at step 26 (epoch 2, learning rate 0.05)" in str(error.value)
    assert "last good checkpoint: run/checkpoints/last" in str(error.value)
    assert durable.verify_folder(Path("run/checkpoints/last"))["metrics"]["epoch"] == 1
    for line in Path("run/metrics.jsonl").read_text().splitlines():
        assert "NaN" not in json.dumps(json.loads(line))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_that_is_far_too_large_names_a_smaller_one(plain_recipe: dict[str, Any], name: str) -> None:
    plain_recipe["optimizer"] = {"name": name, "lr": 1e300}
    with pytest.raises(DivergedError) as error:
        train(plain_recipe, out="run", console=QUIET)
    found = re.search(r"--set optimizer\.lr=(\S+)`", str(error.value))
    assert found is not None
    assert 0 < float(found[1]) <= 0.1


def test_weights_that_are_not_finite_are_never_saved(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.train_step

    def broken(session: Any, **options: Any) -> Any:
        norm = real(session, **options)
        if session.step == 21:
            with torch.no_grad():
                next(session.network.parameters()).fill_(float("inf"))
        return norm

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(DivergedError, match="a weight is not finite at step 22"):
        train(plain_recipe, out="run", console=QUIET)
    assert not Path("run/checkpoints").exists()


def test_a_validation_loss_that_is_not_finite(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "loss_and_accuracy", lambda logits, labels: (float("inf"), 0.1))
    with pytest.raises(DivergedError, match="validation loss is inf after epoch 1"):
        train(plain_recipe, out="run", console=QUIET)


def test_out_of_memory_says_what_to_try(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(session: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(loop, "train_step", no_memory)
    with pytest.raises(ResourceError) as error:
        train(plain_recipe, out="run", console=QUIET)
    assert re.fullmatch(
        r"out of memory on cpu with train\.batch_size 64 in 1 part \(peak \d+\.\d\d GB of \d+\.\d\d GB\); "
        r"start a new run with `--set train\.accumulate=2`, which computes the same batch in 2 parts",
        str(error.value),
    )
    assert "out of memory" in Path("run/log.txt").read_text()


def test_memory_order_is_the_asked_one(plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    real = loop.train_step

    def watched(session: Any, **options: Any) -> Any:
        session.network.network.conv1.register_forward_hook(
            lambda layer, inputs, output: orders.append(
                output.is_contiguous(memory_format=torch.channels_last)
            )
        )
        return real(session, **options)

    monkeypatch.setattr(loop, "train_step", watched)
    plain_recipe["train"]["epochs"] = 0.1
    for asked in (True, False):
        orders.clear()
        train(plain_recipe, out=str(asked), set={"train.channels_last": asked}, console=QUIET)
        assert set(orders) == {asked}


def test_tensorboard_keeps_every_point_over_a_resume(
    plain_recipe: dict[str, Any],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain_recipe["train"]["batch_size"] = 500
    train(plain_recipe, out="run", console=QUIET)
    train(resume="run", epochs=2, console=QUIET)
    view = EventAccumulator(str(RunFolder.open("run").tensorboard_path))
    view.Reload()
    assert [event.step for event in view.Scalars("loss/train")] == [2, 4]


def test_fewer_images_than_a_batch(plain_recipe: dict[str, Any]) -> None:
    plain_recipe["train"] |= {"batch_size": 100_000}
    result = train(plain_recipe, out="run", console=QUIET)
    assert result.steps == 1


def test_the_process_is_left_as_it_was(plain_recipe: dict[str, Any]) -> None:
    threads = torch.get_num_threads()
    train(plain_recipe, out="run", console=QUIET)
    assert torch.get_num_threads() == threads
    assert torch.tensor(1e-310, dtype=torch.float64) * 0.5 > 0, "denormals are not flushed any more"
