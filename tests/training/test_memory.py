"""Memory that runs out: the batch, the peak, and a change that is valid, on every device."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pictorch.errors import ResourceError
from pictorch.recipe import TrainSection
from pictorch.recipe.files import load_recipe
from pictorch.training import loop, runtime
from pictorch.training.console import Console
from pictorch.training.runtime import (
    evaluation_memory_explained,
    training_memory_explained,
    validation_memory_explained,
)
from pictorch.training.start import train

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nmore")
PROPOSED = re.compile(r"`--set ([\w.]+=\d+)`")

# The child limits its own address space to what it has and a little more, so that the kernel refuses.
_LIMITED_CHILD = """
import resource, sys
import torch, sklearn.datasets, torch.utils.tensorboard
from pictorch import cli
from pictorch.training import loop
real = loop.train_step
def train_step(session, **options):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 500 * 2**20, resource.RLIM_INFINITY))
    return real(session, **options)
loop.train_step = train_step
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the messages see a GPU of 80 GB whose peak was 77.9 GB."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 77_900_000_000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 80_000_000_000))


def message(context: Any, error: BaseException = FULL) -> str:
    with pytest.raises(ResourceError) as caught, context:
        raise error
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    return str(caught.value)


def section(**fields: Any) -> TrainSection:
    return TrainSection(epochs=1, **fields)


def test_a_full_gpu_names_batch_peak_and_remedy(gpu: None) -> None:
    assert message(training_memory_explained(section(), CUDA, 32)) == (
        "out of memory on cuda with train.batch_size 128 in 1 part (peak 77.90 GB of 80.00 GB); start a new "
        "run with `--set train.accumulate=2`, which computes the same batch in 2 parts"
    )
    assert message(validation_memory_explained(section(), CUDA)).endswith(
        "train.eval_batch_size 200 in validation (peak 77.90 GB of 80.00 GB); start a new run with "
        "`--set train.eval_batch_size=100`"
    )
    assert "`CUDA_VISIBLE_DEVICES=`" in message(evaluation_memory_explained(section(), CUDA))
    assert message(training_memory_explained(section(batch_size=1), CUDA, 32)).endswith("`--device cpu`")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 45, 64, 97, 128, 96])
def test_the_proposed_change_is_valid_and_saves_memory(gpu: None, batch_size: int) -> None:
    for accumulate in [n for n in range(1, batch_size) if batch_size % n == 0]:
        asked = {"train.batch_size": batch_size, "train.accumulate": accumulate}
        recipe = load_recipe("digits", asked)
        proposed = PROPOSED.search(message(training_memory_explained(recipe.train, CUDA, 32)))
        assert proposed is not None
        changed = load_recipe(recipe, [proposed[1]])
        assert changed.train.accumulate >= min(2 * accumulate, batch_size)
    alone = section(batch_size=batch_size, accumulate=batch_size)
    assert "accumulate" not in message(training_memory_explained(alone, CUDA, 32)).partition(";")[2]
    proposed = PROPOSED.search(message(training_memory_explained(alone, CPU, 32)))
    assert proposed is not None
    load_recipe("digits", [proposed[1]])


def test_pythons_and_numpys_memory_errors_are_explained_too() -> None:
    for error in (
        MemoryError(),
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError("can't allocate memory"),
    ):
        assert message(training_memory_explained(section(), CPU, 8), error).startswith("out of memory on cpu")
    with pytest.raises(RuntimeError, match="another"), training_memory_explained(section(), CPU, 8):
        raise RuntimeError("another fault")


def test_a_host_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "memory_bytes", lambda: (None, None))
    assert re.search(r"\(peak \d+\.\d\d GB\);", message(training_memory_explained(section(), CPU, 8)))


def test_a_network_that_fills_the_gpu(
    plain_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch's own error, raised where it arises: in the forward pass, here of the validation."""
    real = loop.predict_logits

    def predict_logits(classifier: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        def full(*unused: Any) -> None:
            raise FULL

        classifier.register_forward_pre_hook(full)
        return real(classifier, *arguments, **options)

    monkeypatch.setattr(loop, "predict_logits", predict_logits)
    with pytest.raises(ResourceError, match=r"train\.eval_batch_size 200 in validation"):
        train(plain_recipe, out="run", console=Console("quiet"))
    assert "eval_batch_size 200" in Path("run/log.txt").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on the address space holds on Linux")
def test_the_kernel_refuses_memory_and_the_remedy_works() -> None:
    """Allocations that really fail; what each message proposes is carried out until the training fits."""
    recipe = ["digits", "--epochs", "1", "--set", "train.batch_size=1024", "--set", "train.threads=1"]
    recipe += ["--set", "data.image_size=48", "--set", "train.precision=float32"]
    said = []
    for attempt in range(9):
        command = [sys.executable, "-c", _LIMITED_CHILD, "train", *recipe, "--out", f"run-{attempt}", "-q"]
        child = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if child.returncode == 0:
            break
        assert child.returncode == 5, child.stderr
        assert child.stderr.count("\n") == 1
        assert "Traceback" not in Path(f"run-{attempt}/log.txt").read_text()
        proposed = PROPOSED.search(child.stderr)
        assert proposed is not None
        recipe += ["--set", proposed[1]]
        said.append(child.stderr)
    assert child.returncode == 0, said
    assert "out of memory on cpu with train.batch_size 1024 in 1 part (peak " in said[0]
