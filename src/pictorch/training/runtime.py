"""What the machine is asked to do: device, arithmetic, threads, memory; every `auto` resolved here."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch

from pictorch.datasets.contents import Pixels
from pictorch.datasets.mapped import is_mapped
from pictorch.errors import RecipeError, ResourceError
from pictorch.host import (
    keep_freed_memory,
    memory_bytes,
    multiplies_bf16,
    peak_process_bytes,
    physical_cores,
)
from pictorch.kernels.building import BUILDING_SECONDS
from pictorch.kernels.layers import TORCHS, OwnConvolutions, use_conv3x3
from pictorch.kernels.timing import MEASURING_SECONDS
from pictorch.networks import Classifier
from pictorch.networks.zoo import is_own
from pictorch.recipe import DataSection, Recipe, TrainSection, graph_obstacle
from pictorch.training.group import ALONE, Group
from pictorch.training.schedules import Segment

NOT_MEASURED = "not measured"
_BF16_MEASURED = (
    "1.75 times the images/s of float32 for cifar10_cnn, 1.4 times for simple_net (2 cores of an AMD "
    "EPYC, Zen 4; docs/log.md)"
)
_THREADS_MEASURED = (
    "2 threads give 1.83 times the images/s of one for cifar10_cnn (2 cores of an AMD EPYC, Zen 4; "
    "docs/log.md)"
)
_COMPILE_MEASURED = (
    "0.93 times the images/s for cifar10_cnn when compiled (2 cores of an AMD EPYC, Zen 4; docs/log.md)"
)
_ORDER_MEASURED = (
    "1.2 to 1.4 times the images/s for cifar10_cnn, 1.5 to 1.8 times for simple_net (one core of an AMD "
    "EPYC, Zen 4; docs/log.md)"
)
_BLOCKS_MEASURED = (
    "1.4 bytes read for each byte used in place of 394 for images of 64 pixels, no difference at 256 (a disk "
    "that reads 8 MB around a miss; docs/log.md)"
)
_KERNELS_MEASURED = (
    "1.5 to 2.3 times the images/s for cifar10_cnn, vgg11_bn, ResNets and speednet in float32, 0.96 to 1.26 "
    "times in bf16 (2 cores of an AMD EPYC, Zen 3 and Zen 4; docs/log.md)"
)
_KERNELS_RULE = (
    "on a CPU in float32 or bf16, where the training is long enough to earn back what is still to be done "
    f"here, building ({BUILDING_SECONDS:.0f} s) and measuring ({MEASURING_SECONDS:.0f} s), for each 3x3 "
    "convolution that is faster so on this machine (docs/kernels.md)"
)
# Reckoned, not measured: at 1e14 operations a second, six for each multiply-add, the first is a training of
# ten minutes, which may gain more than compiling takes; a step of the second is 12 ms, which Python's asking
# for every kernel may outlast.
_COMPILED_FROM = 1e16  # multiply-adds of all images of the training
_CAPTURED_UP_TO = 2e11  # multiply-adds of a step
_CAPTURED_STEPS = 1000
_COMPILE_RULE = (
    f"on CUDA with Triton, where all images of a training take {_COMPILED_FROM:.0e} multiply-adds or more, "
    "so that it earns back the minutes of compiling; never on CPU and MPS"
)
_GRAPH_RULE = (
    f"on CUDA, for {_CAPTURED_STEPS:,} steps or more of at most {_CAPTURED_UP_TO:.0e} multiply-adds, without "
    "dropout, compiling and what a graph cannot hold (docs/train.md)"
)
_MAPPED_SHARE = 0.5  # of memory: beyond it the page cache may lose images before their next turn


# What CUDA and MPS, torch's allocator of the CPU, and oneDNN say.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|could not create a primitive$")


@dataclass(frozen=True)
class Choice:
    """A resolved field: its value, the rule that gave it, and what the rule was measured to be worth."""

    value: Any
    reason: str
    measured: str = NOT_MEASURED

    def to_json(self) -> dict[str, Any]:
        """Returns the choice as environment.json keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class Runtime:
    """The resolved machine settings of a training or an evaluation."""

    device: torch.device
    dtype: torch.dtype
    autocast_dtype: torch.dtype | None
    channels_last: bool
    cudnn_benchmark: bool
    compile: bool
    cuda_graph: bool
    threads: int
    choices: dict[str, Choice]
    convolutions: OwnConvolutions = TORCHS
    in_group: bool = False  # of several processes, or as many as torchrun was told

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
        use_conv3x3(classifier, self.convolutions.layers)

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
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            torch.backends.cudnn.benchmark = cudnn_benchmark


def resolve_runtime(section: TrainSection, *, any_device: bool = False, group: Group = ALONE) -> Runtime:
    """Returns the settings for this machine, of which each process of a group on it has its share.

    Where it lacks the device that the recipe names: raises RecipeError, or with `any_device` takes
    what there is, so that a run can be judged or go on elsewhere.
    """
    device = _device(section, any_device, group)
    precision = _precision(section.precision, device.value)
    on_cuda = device.value == "cuda"
    channels_last = _auto(
        section.channels_last,
        device.value != "mps",
        "convolutions on CPU and CUDA are fastest in this order, on MPS they are not",
        _ORDER_MEASURED if device.value == "cpu" else NOT_MEASURED,
    )
    cudnn_benchmark = _auto(
        section.cudnn_benchmark,
        on_cuda,
        "all batches are alike, so timing kernels once pays" if on_cuda else "only CUDA has cuDNN",
    )
    on_cpu = device.value == "cpu"
    # On CUDA the last word on these two is resolve_for_work's.
    compiled = _auto(
        section.compile,
        f"from {_COMPILED_FROM:.0e} multiply-adds on" if on_cuda else False,
        _COMPILE_RULE,
        _COMPILE_MEASURED if on_cpu else NOT_MEASURED,
    )
    graph = _graph(section, on_cuda)
    kernels = _auto(
        section.kernels,
        "own where faster" if on_cpu and precision.value in ("float32", "bf16") else "library",
        _KERNELS_RULE,
        _KERNELS_MEASURED if on_cpu else NOT_MEASURED,
    )
    if group.is_joined:
        compiled = graph = Choice(False, "not where processes average their gradients")
    threads = _threads(section, group)
    return Runtime(
        device=torch.device(f"cuda:{group.local_rank}" if on_cuda and group.is_joined else device.value),
        dtype=torch.float64 if precision.value == "float64" else torch.float32,
        autocast_dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision.value),
        channels_last=channels_last.value,
        cudnn_benchmark=cudnn_benchmark.value,
        compile=compiled.value is True,
        cuda_graph=graph.value is True,
        threads=threads.value,
        choices={
            "train.device": device,
            "train.precision": precision,
            "train.channels_last": channels_last,
            "train.cudnn_benchmark": cudnn_benchmark,
            "train.compile": compiled,
            "train.cuda_graph": graph,
            "train.threads": threads,
            "train.kernels": kernels,
        },
        in_group=group.is_joined,
    )


def resolve_for_work(
    runtime: Runtime, recipe: Recipe, training_images: int, network: Mapping[str, Any]
) -> Runtime:
    """Returns the settings with what pays on CUDA for some work only: compiling, and a graph of the step.

    The work is that of the recipe's own epochs for a network as `summarize` describes it.
    """
    if runtime.device.type != "cuda" or runtime.in_group:
        return runtime
    batch_size = min(recipe.train.batch_size, training_images)
    steps = Segment(0, recipe.train.epochs, 1.0).steps(training_images // batch_size)
    multiply_adds = batch_size * network["multiply_adds"]  # of a step
    of_own = is_own(recipe.model.name) or is_own(recipe.loss.name)  # which may do what neither can
    can_compile = find_spec("triton") is not None and not of_own
    compiled = _auto(
        recipe.train.compile, can_compile and steps * multiply_adds >= _COMPILED_FROM, _COMPILE_RULE
    )
    draws = any("Drop" in layer["kind"] or "Stochastic" in layer["kind"] for layer in network["layers"])
    can_capture = not (of_own or draws or compiled.value or graph_obstacle(recipe))
    is_short = steps >= _CAPTURED_STEPS and multiply_adds <= _CAPTURED_UP_TO
    graph = _auto(recipe.train.cuda_graph, can_capture and is_short, _GRAPH_RULE)
    if runtime.scales_gradients:
        graph = Choice(False, "no graph holds the scaled gradients of fp16")
    return replace(
        runtime,
        compile=compiled.value,
        cuda_graph=graph.value,
        choices={**runtime.choices, "train.compile": compiled, "train.cuda_graph": graph},
    )


def resolve_order(section: DataSection, images: Pixels | None = None) -> Choice:
    """Returns the order of epochs for images here; without them, up to how much it is which."""
    total_bytes = memory_bytes()[0]
    limit_bytes = math.inf if total_bytes is None else _MAPPED_SHARE * total_bytes
    if images is None:
        automatic = f"random; blocks for a memory map of more than {limit_bytes / 1e9:.1f} GB"
    else:
        automatic = "blocks" if is_mapped(images) and images.nbytes > limit_bytes else "random"
    rule = f"blocks for a memory map of more than {_MAPPED_SHARE:.0%} of the memory that may be used"
    return _auto(section.order, automatic, rule, _BLOCKS_MEASURED)


def recorded_order(environment: Mapping[str, Any]) -> Choice:
    """Returns the order that a run began with, whatever it would be now; older ones knew one."""
    record = environment.get("auto", {}).get("data.order")
    return Choice("random", "the only one when the run began", "") if record is None else Choice(**record)


@contextmanager
def memory_explained(device: torch.device, what: str, remedy: str) -> Iterator[None]:
    """Turns a device or host that runs out of memory into a ResourceError: `what`, the peak, `remedy`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # CUDA's is a RuntimeError, those of CPU and MPS plain ones
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        whole = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else memory_bytes()[0]
        of_whole = f" of {whole / 1e9:.2f} GB" if whole else ""
        raise ResourceError(
            f"out of memory on {device.type} with {what} "
            f"(peak {peak_memory_bytes(device) / 1e9:.2f} GB{of_whole}); {remedy}"
        ) from error


def training_memory_explained(
    section: TrainSection, device: torch.device, image_size: int
) -> AbstractContextManager[None]:
    """Explains a training that runs out of memory, with the `--set` that makes its parts smaller."""
    batch, parts = section.batch_size, section.accumulate
    if parts < batch:
        more = next(n for n in range(min(2 * parts, batch), batch + 1) if batch % n == 0)
        change = f"`--set train.accumulate={more}`, which computes the same batch in {more} parts"
    elif device.type == "cpu":
        change = f"a data.image_size smaller than {image_size}, as `--set data.image_size={image_size // 2}`"
    else:
        change = "`--device cpu`"
    return memory_explained(
        device,
        f"train.batch_size {batch} in {parts} part{'s' if parts > 1 else ''}",
        f"start a new run with {change}",
    )


def validation_memory_explained(section: TrainSection, device: torch.device) -> AbstractContextManager[None]:
    """Explains a validation that runs out of memory, with the `--set` that halves its batch."""
    smaller = max(1, section.eval_batch_size // 2)
    return memory_explained(
        device,
        f"train.eval_batch_size {section.eval_batch_size} in validation",
        f"start a new run with `--set train.eval_batch_size={smaller}`",
    )


def evaluation_memory_explained(section: TrainSection, device: torch.device) -> AbstractContextManager[None]:
    """Explains an evaluation that runs out of memory; its batch is the run's and cannot be set."""
    on_gpu = "let the CPU do it: put `CUDA_VISIBLE_DEVICES=` before the command"
    on_host = "end other programs, or raise the limit on memory (`ulimit -v unlimited`, the container's)"
    what = f"train.eval_batch_size {section.eval_batch_size}"
    return memory_explained(device, what, on_gpu if device.type == "cuda" else on_host)


def peak_memory_bytes(device: torch.device) -> int:
    """Returns the largest memory so far: of the device on CUDA, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_process_bytes()


def _auto(asked: Any, automatic: Any, rule: str, measured: str = NOT_MEASURED) -> Choice:
    return Choice(automatic, f"auto: {rule}", measured) if asked == "auto" else _set(asked)


def _set(asked: Any) -> Choice:
    return Choice(asked, "set in the recipe", "")


def _device(section: TrainSection, any_device: bool, group: Group) -> Choice:
    present = [
        name
        for name, is_there in (
            ("cuda", torch.cuda.is_available()),
            (
                "mps",
                torch.backends.mps.is_available() and section.precision != "float64" and not group.is_joined,
            ),
            ("cpu", True),
        )
        if is_there
    ]
    gpus = torch.cuda.device_count() if "cuda" in present else 0
    if section.device in ("auto", "cuda") and 0 < gpus < group.local_world:
        # A run keeps its recipe, so a resume cannot be given another device.
        on_cpu = "hide them with `export CUDA_VISIBLE_DEVICES=`" if any_device else "give `--device cpu`"
        raise RecipeError(
            f"train.device: {group.local_world} processes on this host, but {gpus} GPU{'s' * (gpus > 1)}; "
            f"start as many with `--nproc-per-node {gpus}`, or {on_cpu}"
        )
    if section.device == "auto":
        return Choice(present[0], "auto: the first there is of CUDA, MPS, CPU")
    if section.device in present:
        return _set(section.device)
    if any_device:
        return Choice(present[0], f"the recipe's {section.device} is not here")
    with_precision = " with float64" if section.precision == "float64" else ""
    raise RecipeError(
        f"train.device: {section.device} is not available here{with_precision}; use `--device {present[0]}`"
    )


def _graph(section: TrainSection, on_cuda: bool) -> Choice:
    if on_cuda:
        return _auto(section.cuda_graph, f"up to {_CAPTURED_UP_TO:.0e} multiply-adds a step", _GRAPH_RULE)
    return Choice(False, f"auto: {_GRAPH_RULE}" if section.cuda_graph == "auto" else "only CUDA has graphs")


def _threads(section: TrainSection, group: Group) -> Choice:
    among = f", divided among {group.local_world} processes" if group.local_world > 1 else ""
    rule = f"one thread for each physical core allowed{among}"
    return _auto(section.threads, max(1, physical_cores() // group.local_world), rule, _THREADS_MEASURED)


def _precision(asked: str, device: str) -> Choice:
    if asked != "auto":
        return _set(asked)
    if device == "cuda":
        if torch.cuda.get_device_capability() >= (8, 0):
            return Choice("bf16", "auto: this GPU multiplies bf16 natively")
        return Choice("fp16", "auto: this GPU multiplies fp16 but not bf16")
    if device == "cpu" and multiplies_bf16():
        rule = "auto: this CPU multiplies bf16 natively (avx512_bf16 or amx_bf16)"
        return Choice("bf16", rule, _BF16_MEASURED)
    return Choice("float32", f"auto: this {device.upper()} has no fast bf16 multiplication")
