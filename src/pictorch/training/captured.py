"""The step of a training as one CUDA graph: asked of the GPU once, where Python asks for hundreds of kernels.

After A. Gray, "Getting started with CUDA graphs", 2019, and the notes on CUDA semantics in torch's manual.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, Tensor | None]  # the loss, and the gradient's norm
Compute = Callable[[Tensor, Tensor], Outputs]
_Kind = tuple[torch.Size, tuple[bool, ...]]  # of the images, and whether each parameter learns

WARM_UP_STEPS = 3  # done as they are: cuDNN times its kernels, the optimiser makes its state


class CapturedStep:
    """Replays the step that it was given first, for the images, labels and rates of now.

    The step of each size of images, and of each set of parameters that learn, is captured by itself. What
    else a step takes from Python (all but the optimiser's rates) is that of the capture for good, and what it
    gives is overwritten by the next one.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        groups = optimizer.param_groups
        self._rates = [torch.zeros((), device=group["params"][0].device) for group in groups]
        self._done = Counter[_Kind]()
        self._captured: dict[_Kind, tuple[Tensor, Tensor, Callable[[], Outputs]]] = {}

    def __call__(self, compute: Compute, images: Tensor, labels: Tensor) -> Outputs:
        """Does compute(images, labels), which moves the weights, and returns what it gives."""
        groups = self._optimizer.param_groups
        kind = images.shape, tuple(p.requires_grad for group in groups for p in group["params"])
        self._done[kind] += 1
        if self._done[kind] <= WARM_UP_STEPS:
            return _beside(lambda: compute(images, labels), images.device)
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(group["lr"])
        if kind not in self._captured:
            own_images, own_labels = images.clone(), labels.clone()
            with self._rates_on_device():
                replay = record(lambda: compute(own_images, own_labels))
            self._captured[kind] = own_images, own_labels, replay
        own_images, own_labels, replay = self._captured[kind]
        own_images.copy_(images)
        own_labels.copy_(labels)
        return replay()

    @contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        """Lets the optimiser take its rates from where they can be changed; its state is saved as ever."""
        groups = self._optimizer.param_groups
        keys = ("lr", "capturable")
        before: list[dict[str, Any]] = [{key: group[key] for key in keys if key in group} for group in groups]
        for rate, group, kept in zip(self._rates, groups, before, strict=True):
            group.update(dict.fromkeys(kept, True) | {"lr": rate})
        try:
            yield
        finally:
            for group, kept in zip(groups, before, strict=True):
                group.update(kept)


def record(work: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """Returns what does `work` again on the GPU, in the same memory; nothing is done yet."""
    graph = torch.cuda.CUDAGraph()
    # Another thread may copy images to the GPU meanwhile, which is none of the graph's business.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = work()

    def replay() -> Outputs:
        graph.replay()
        return outputs

    return replay


def _beside(work: Callable[[], Outputs], device: torch.device) -> Outputs:
    """Does `work` in a stream of its own, as steps that come before a capture must be done."""
    if device.type != "cuda":
        return work()
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    present = torch.cuda.current_stream(device)
    stream.wait_stream(present)
    with torch.cuda.stream(stream):
        outputs = work()
    present.wait_stream(stream)
    return outputs
