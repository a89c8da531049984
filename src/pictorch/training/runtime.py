"""What the machine is asked to do: device, arithmetic, threads, memory; every `auto` resolved here."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pictorch.errors import RecipeError, ResourceError
from pictorch.networks import Classifier
from pictorch.recipe import TrainSection

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Choice:
    """A resolved field: its value, and the rule that gave it."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Runtime:
    """The resolved machine settings of a training or an evaluation."""

    device: torch.device
    dtype: torch.dtype
    autocast_dtype: torch.dtype | None
    channels_last: bool
    cudnn_benchmark: bool
    compile: bool
    threads: int
    choices: dict[str, Choice]

    @property
    def scales_gradients(self) -> bool:
        """Whether gradients need scaling to stay inside fp16's range."""
        return self.autocast_dtype is torch.float16

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory order of the weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, classifier: Classifier) -> None:
        """Moves a classifier to the device, in the type and the memory order of the settings."""
        classifier.to(self.device, self.dtype).to(memory_format=self.memory_format)
        classifier.normalization.channels_last = self.channels_last

    def autocast(self) -> AbstractContextManager[None]:
        """Returns the context in which a training forward pass runs."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_dtype)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Sets threads, denormals and cuDNN while its context lasts, and the allocator for good."""
        threads, cudnn_benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(True)
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        if self.device.type == "cpu":
            keep_freed_memory()
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            torch.backends.cudnn.benchmark = cudnn_benchmark


def resolve_runtime(section: TrainSection, *, any_device: bool = False) -> Runtime:
    """Returns the settings for this machine.

    Where it lacks the device that the recipe names: raises RecipeError, or with `any_device` takes
    what there is, so that a run can be judged or go on elsewhere.
    """
    device = _device(section, any_device)
    precision = _precision(section.precision, device.value)
    on_cuda = device.value == "cuda"
    channels_last = _auto(
        section.channels_last,
        device.value != "mps",
        "convolutions on CPU and CUDA are fastest in this order, on MPS they are not",
    )
    cudnn_benchmark = _auto(
        section.cudnn_benchmark,
        on_cuda,
        "all batches are alike, so timing kernels once pays" if on_cuda else "only CUDA has cuDNN",
    )
    compiled = _auto(section.compile, False, "one training seldom earns back the minutes of compilation")
    threads = _auto(section.threads, physical_cores(), "one thread for each physical core allowed")
    return Runtime(
        device=torch.device(device.value),
        dtype=torch.float64 if precision.value == "float64" else torch.float32,
        autocast_dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision.value),
        channels_last=channels_last.value,
        cudnn_benchmark=cudnn_benchmark.value,
        compile=compiled.value,
        threads=threads.value,
        choices={
            "train.device": device,
            "train.precision": precision,
            "train.channels_last": channels_last,
            "train.cudnn_benchmark": cudnn_benchmark,
            "train.compile": compiled,
            "train.threads": threads,
        },
    )


@contextmanager
def memory_explained(section: TrainSection) -> Iterator[None]:
    """Turns a device or host that runs out of memory into a ResourceError that says what to try."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; CPU and MPS raise plain ones
        reason = str(error).splitlines()[0]
        if not re.search(r"out of memory|can't allocate memory", str(error)):
            raise
        raise ResourceError(
            f"out of memory with train.batch_size {section.batch_size} and train.eval_batch_size "
            f"{section.eval_batch_size} ({reason}); try --set train.accumulate={2 * section.accumulate}, "
            "which keeps the batch, or smaller ones"
        ) from error


def physical_cores() -> int:
    """Returns the number of physical cores that this process may use, at least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota_cpus()))


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks, so that activations are not mapped and zeroed at every step.

    Worth 1.2 to 1.3 times on convolutional networks (docs/log.md). Elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)


def _auto(asked: Any, automatic: Any, rule: str) -> Choice:
    return Choice(automatic, f"auto: {rule}") if asked == "auto" else Choice(asked, "set in the recipe")


def _device(section: TrainSection, any_device: bool) -> Choice:
    present = [
        name
        for name, is_there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available() and section.precision != "float64"),
            ("cpu", True),
        )
        if is_there
    ]
    if section.device == "auto":
        return Choice(present[0], "auto: the first there is of CUDA, MPS, CPU")
    if section.device in present:
        return Choice(section.device, "set in the recipe")
    if any_device:
        return Choice(present[0], f"the recipe's {section.device} is not here")
    with_precision = " with float64" if section.precision == "float64" else ""
    raise RecipeError(
        f"train.device: {section.device} is not available here{with_precision}; use `--device {present[0]}`"
    )


def _precision(asked: str, device: str) -> Choice:
    if asked != "auto":
        return Choice(asked, "set in the recipe")
    if device == "cuda":
        if torch.cuda.get_device_capability() >= (8, 0):
            return Choice("bf16", "auto: this GPU multiplies bf16 natively")
        return Choice("fp16", "auto: this GPU multiplies fp16 but not bf16")
    if device == "cpu" and multiplies_bf16():
        return Choice("bf16", "auto: this CPU multiplies bf16 natively (avx512_bf16 or amx_bf16)")
    return Choice("float32", f"auto: this {device.upper()} has no fast bf16 multiplication")


def multiplies_bf16() -> bool:
    """Returns whether the CPU has instructions that multiply bf16; emulation is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _core_of(cpu: int) -> tuple[str, str]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (topology / "physical_package_id").read_text(), (topology / "core_id").read_text()
    except OSError:
        return "", str(cpu)


def _quota_cpus() -> int:
    """Returns the whole CPUs that a container's quota allows (cgroup v2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return sys.maxsize
    return sys.maxsize if quota == "max" else max(1, int(quota) // int(period))
