"""How each `auto` is resolved and explained, and what a process is set to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pictorch.datasets.mapped import map_array
from pictorch.errors import RecipeError
from pictorch.recipe import DataSection, Recipe, TrainSection
from pictorch.training import runtime as runtime_module
from pictorch.training.runtime import (
    Runtime,
    recorded_order,
    resolve_for_work,
    resolve_order,
    resolve_runtime,
)

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Returns a function that makes this look like another machine."""

    def pretend(*, cuda: tuple[int, int] | None = None, mps: bool = False, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(runtime_module, "multiplies_bf16", lambda: bf16)
        monkeypatch.setattr(runtime_module, "physical_cores", lambda: 3)

    pretend()
    return pretend


def resolved(**fields: Any) -> Runtime:
    return resolve_runtime(TrainSection(epochs=1, **fields))


def test_a_plain_cpu(machine: Machine) -> None:
    runtime = resolved()
    assert runtime.device == torch.device("cpu")
    assert (runtime.dtype, runtime.autocast_dtype) == (torch.float32, None)
    assert runtime.channels_last
    assert runtime.memory_format is torch.channels_last
    assert not runtime.cudnn_benchmark
    assert not runtime.compile
    assert "0.93 times" in runtime.choices["train.compile"].measured
    assert runtime.threads == 3
    assert not runtime.scales_gradients
    explained = {field: (choice.value, choice.reason) for field, choice in runtime.choices.items()}
    assert explained == {
        "train.device": ("cpu", "auto: the first there is of CUDA, MPS, CPU"),
        "train.precision": ("float32", "auto: this CPU has no fast bf16 multiplication"),
        "train.channels_last": (
            True,
            "auto: convolutions on CPU and CUDA are fastest in this order, on MPS they are not",
        ),
        "train.cudnn_benchmark": (False, "auto: only CUDA has cuDNN"),
        "train.compile": (
            False,
            "auto: on CUDA with Triton, where all images of a training take 1e+16 multiply-adds or more, so "
            "that it earns back the minutes of compiling; never on CPU and MPS",
        ),
        "train.cuda_graph": (
            False,
            "auto: on CUDA, for 1,000 steps or more of at most 2e+11 multiply-adds, without dropout, "
            "compiling and what a graph cannot hold (docs/train.md)",
        ),
        "train.threads": (3, "auto: one thread for each physical core allowed"),
        "train.kernels": (
            "own where faster",
            "auto: on a CPU in float32 or bf16, where the training is long enough to earn back what is "
            "still to be done here, building (12 s) and measuring (13 s), for each 3x3 convolution that is "
            "faster so on this machine (docs/kernels.md)",
        ),
    }


def test_a_cpu_that_multiplies_bf16(machine: Machine) -> None:
    machine(bf16=True)
    runtime = resolved()
    assert (runtime.dtype, runtime.autocast_dtype) == (torch.float32, torch.bfloat16)
    assert runtime.choices["train.precision"].reason.startswith("auto: this CPU multiplies bf16 natively")
    assert not runtime.scales_gradients
    assert resolved(precision="float32").autocast_dtype is None


@pytest.mark.parametrize(
    ("capability", "dtype", "reason"),
    [
        ((7, 5), torch.float16, "auto: this GPU multiplies fp16 but not bf16"),
        ((8, 0), torch.bfloat16, "auto: this GPU multiplies bf16 natively"),
        ((9, 0), torch.bfloat16, "auto: this GPU multiplies bf16 natively"),
    ],
)
def test_a_gpu(machine: Machine, capability: tuple[int, int], dtype: torch.dtype, reason: str) -> None:
    machine(cuda=capability, mps=True)
    runtime = resolved()
    assert runtime.device.type == "cuda"
    assert runtime.autocast_dtype is dtype
    assert runtime.scales_gradients == (dtype is torch.float16)
    assert runtime.choices["train.precision"].reason == reason
    assert runtime.channels_last
    assert runtime.cudnn_benchmark
    assert resolved(device="cpu").device.type == "cpu"


def test_an_apple_gpu(machine: Machine) -> None:
    machine(mps=True)
    runtime = resolved()
    assert runtime.device.type == "mps"
    assert (runtime.dtype, runtime.autocast_dtype) == (torch.float32, None)
    assert not runtime.channels_last
    assert runtime.memory_format is torch.contiguous_format
    assert resolved(precision="float64").device.type == "cpu", "MPS has no float64"
    with pytest.raises(RecipeError, match=r"mps is not available here with float64; use `--device cpu`"):
        resolved(precision="float64", device="mps")
    assert resolved(precision="float64", device="cpu").dtype is torch.float64


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(machine: Machine, device: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolved(device=device)
    assert str(caught.value) == f"train.device: {device} is not available here; use `--device cpu`"


def test_what_the_recipe_sets_is_taken(machine: Machine) -> None:
    machine(cuda=(9, 0), bf16=True)
    fields = {
        "device": "cpu",
        "precision": "fp16",
        "channels_last": False,
        "cudnn_benchmark": True,
        "compile": True,
        "threads": 7,
        "kernels": "own",
    }
    runtime = resolved(**fields, cuda_graph=True)
    assert {field: choice.value for field, choice in runtime.choices.items()} == {
        f"train.{name}": value for name, value in {**fields, "cuda_graph": False}.items()
    }
    reasons = {choice.reason for choice in runtime.choices.values()}
    assert reasons == {"set in the recipe", "only CUDA has graphs"}
    assert (runtime.autocast_dtype, runtime.scales_gradients) == (torch.float16, True)
    assert (runtime.channels_last, runtime.cudnn_benchmark, runtime.compile) == (False, True, True)
    assert runtime.threads == 7


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_autocast(machine: Machine, precision: str, expected: torch.dtype) -> None:
    with resolved(precision=precision).autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is expected


# --- the process ----------------------------------------------------------------------------------


def settings() -> tuple[int, bool, bool]:
    """Returns threads, cuDNN's benchmark, and whether denormals are flushed."""
    flushed = (torch.tensor([1e-310], dtype=torch.float64) * 1.0).item() == 0
    return torch.get_num_threads(), torch.backends.cudnn.benchmark, flushed


def test_settings_are_applied_and_put_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(runtime_module, "keep_freed_memory", lambda: kept.append(True))
    before = settings()
    other = before[0] + 1
    with pytest.raises(KeyError), resolved(threads=other, cudnn_benchmark=True).applied():  # noqa: PT012
        assert settings() == (other, True, True)
        raise KeyError
    assert settings() == before
    assert kept == [True]
    machine(cuda=(9, 0))
    with resolved(threads=other, cudnn_benchmark=False).applied():
        assert settings() == (other, False, True)
    assert settings() == before
    assert kept == [True], "the CPU's allocator matters to training on the CPU"


# 50 steps of 100 images an epoch.
IMAGES, BATCH, STEPS = 5000, 100, 50
LAYERS = [{"kind": "Conv2d"}, {"kind": "BatchNorm2d"}]


def for_work(multiply_adds: int, epochs: float = 20, drop: str = "", **fields: Any) -> Runtime:
    """Returns the settings of a network of so many multiply-adds an image; `fields` change the recipe."""
    values: dict[str, Any] = {
        "data": {"source": "digits"},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.1},
        "train": {"epochs": epochs, "batch_size": BATCH},
    }
    for path, value in fields.items():
        section, _, key = path.partition("__")
        values.setdefault(section, {})[key] = value
    recipe = Recipe.model_validate(values)
    network = {"multiply_adds": multiply_adds, "layers": [*LAYERS, {"kind": drop}]}
    return resolve_for_work(resolve_runtime(recipe.train), recipe, IMAGES, network)


def test_compiling_pays_for_a_long_training(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "find_spec", lambda name: object())
    machine(cuda=(9, 0))
    enough = 10**16 // (BATCH * STEPS * 20)
    assert for_work(enough).compile
    assert not for_work(enough - 1).compile
    assert not for_work(enough, epochs=19.9).compile
    assert not for_work(enough, train__compile=False).compile
    assert for_work(1, train__compile=True).compile
    assert not for_work(enough, model__name="mine:network").compile
    assert for_work(enough).choices["train.compile"].reason.startswith("auto: on CUDA with Triton, where")
    told = resolved().choices["train.compile"]
    assert (told.value, told.measured) == ("from 1e+16 multiply-adds on", "not measured"), "by doctor"
    monkeypatch.setattr(runtime_module, "find_spec", lambda name: None)
    assert not for_work(enough).compile
    machine()
    assert not for_work(enough).compile, "a CPU"


def test_a_graph_pays_for_many_short_steps(machine: Machine) -> None:
    machine(cuda=(9, 0))
    most = 2 * 10**11 // BATCH
    assert for_work(most).cuda_graph
    assert not for_work(most + 1).cuda_graph
    assert not for_work(most, epochs=19.98).cuda_graph, "999 steps"
    assert for_work(most + 1, epochs=1, train__cuda_graph=True).cuda_graph
    assert not for_work(most, train__cuda_graph=False).cuda_graph
    told = resolved().choices["train.cuda_graph"]
    assert told.value == "up to 2e+11 multiply-adds a step", "by doctor"
    machine(cuda=(7, 5))
    assert not for_work(most).cuda_graph, "fp16 scales its gradients"
    machine()
    assert not for_work(most).cuda_graph, "a CPU"


@pytest.mark.parametrize(
    "fields",
    [
        {"drop": "Dropout"},
        {"drop": "StochasticDepth"},
        {"train__accumulate": 2},
        {"train__precision": "fp16"},
        {"train__compile": True},
        {"optimizer__name": "rmsprop"},
        {"loss__name": "mine:loss"},
        {"model__name": "object:Net"},
    ],
)
def test_what_a_graph_cannot_hold(machine: Machine, fields: dict[str, Any]) -> None:
    machine(cuda=(9, 0))
    assert for_work(1).cuda_graph
    assert for_work(1, train__freeze=["backbone"], train__unfreeze_epoch=1).cuda_graph, "two graphs"
    assert for_work(1, optimizer__name="muon").cuda_graph
    assert not for_work(1, **fields).cuda_graph


def test_a_run_from_another_machine_takes_what_there_is(machine: Machine) -> None:
    section = TrainSection(epochs=1, device="cuda")
    choice = resolve_runtime(section, any_device=True).choices["train.device"]
    assert (choice.value, choice.reason) == ("cpu", "the recipe's cuda is not here")


@pytest.mark.parametrize(
    ("memory_bytes", "asked", "expected"),
    [
        (95_999, "auto", "blocks"),
        (96_000, "auto", "random"),
        (None, "auto", "random"),
        (95_999, "random", "random"),
        (10**12, "blocks", "blocks"),
    ],
)
def test_the_order_of_a_map_depends_on_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int | None, asked: Any, expected: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((15, 40, 40, 3), np.uint8))
    monkeypatch.setattr(runtime_module, "memory_bytes", lambda: (memory_bytes, None))
    data = DataSection(source="digits", order=asked)
    choice = resolve_order(data, map_array(tmp_path / "a.npy")[5:])
    assert choice.value == expected
    automatic = "auto: blocks for a memory map of more than 50% of the memory that may be used"
    assert choice.reason == (automatic if asked == "auto" else "set in the recipe")
    assert recorded_order({"auto": {"data.order": choice.to_json()}}) == choice
    in_memory = resolve_order(data, np.zeros((10, 40, 40, 3), np.uint8)).value
    assert in_memory == ("random" if asked == "auto" else asked)


def test_doctor_tells_from_where_on_it_is_block_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "memory_bytes", lambda: (25_000_000_000, None))
    found = resolve_order(DataSection(source="digits")).value
    assert found == "random; blocks for a memory map of more than 12.5 GB"
    assert recorded_order({}).value == "random"
