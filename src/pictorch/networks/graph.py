"""The graph of a network's computation: its layers and the functions between them, as one image runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pictorch.networks.classifier import Classifier

IMAGES = "images"


@dataclass(frozen=True)
class GraphNode:
    """A layer without layers inside, or a function called between layers; the first node is the images.

    `name` is the layer's, a function's is that of the module that calls it and its own; `inputs` are
    numbers of earlier nodes. `output_shape` is that of one image, the first where there are several.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int


def trace_graph(classifier: Classifier) -> list[GraphNode]:
    """Returns the nodes in the order in which they are computed for one image in evaluation mode."""
    side, was_training = classifier.input_spec.stored_size, classifier.training
    device = next(classifier.parameters()).device
    images = torch.zeros((1, side, side, 3), dtype=torch.uint8, device=device)
    recorder = _Recorder(images)
    handles = [handle for name, layer in classifier.named_modules() for handle in recorder.watch(name, layer)]
    try:
        with torch.inference_mode(), recorder:
            classifier.eval()(images)
    finally:
        classifier.train(was_training)
        for handle in handles:
            handle.remove()
    return recorder.nodes


class _Recorder(TorchFunctionMode):
    """Notes layers through hooks, and the functions that are called outside them through torch's override.

    Tensors are told apart by identity, so all that were seen are kept until the end.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.nodes = [GraphNode(IMAGES, "uint8", (), tuple(images.shape[1:]), 0)]
        self._makers, self._kept = {id(images): 0}, [images]
        self._modules, self._in_layer = [""], False

    def watch(self, name: str, module: nn.Module) -> list[Any]:
        """Notes a module when it is called; returns the handles of its hooks."""
        is_layer = not list(module.children())

        def enter(module: nn.Module, inputs: Any) -> None:
            self._modules.append(name)
            self._in_layer = is_layer

        def leave(module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
            self._modules.pop()
            self._in_layer = False
            if is_layer:
                parameters = sum(parameter.numel() for parameter in module.parameters())
                self._note(name, type(module).__name__, (inputs, named), output, parameters)

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, with_kwargs=True),
        ]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if not self._in_layer:
            kind = _function_name(func)
            name = ".".join(part for part in (self._modules[-1], kind) if part)
            self._note(name, kind, (args, kwargs), output, 0)
        return output

    def _note(self, name: str, kind: str, inputs: Any, output: Any, parameters: int) -> None:
        found = {self._makers[id(tensor)]: None for tensor in _tensors(inputs) if id(tensor) in self._makers}
        outputs = list(_tensors(output))
        if not found or not outputs:
            return
        shape = tuple(outputs[0].shape[1:])
        self.nodes.append(GraphNode(name, kind, tuple(sorted(found)), shape, parameters))
        self._kept += outputs
        self._makers |= dict.fromkeys(map(id, outputs), len(self.nodes) - 1)


def _function_name(func: Any) -> str:
    """Returns 'add' for add, add_, __add__ and __iadd__, and 'mT' for the attribute of that name."""
    name = str(getattr(func, "__name__", "function"))
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", "attribute"))
    bare = name.strip("_")
    return bare[1:] if name.startswith(("__i", "__r")) and bare[1:] in _ARITHMETIC else bare


_ARITHMETIC = ("add", "sub", "mul", "truediv", "matmul", "pow")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
