"""What a network is made of: layers, output shapes, parameters and multiply-adds."""

from typing import Any

import torch
from torch import Tensor, nn

from pictorch.networks.classifier import Classifier


def summarize(classifier: Classifier, name: str) -> dict[str, Any]:
    """Returns name, parameters, multiply_adds (for one image) and a row for each layer.

    Shapes are those of one image without the batch. Multiply-adds count convolutions and linear
    layers, as the field does.
    """
    layers: list[dict[str, Any]] = []

    def record(layer_name: str, layer: nn.Module, output: Any) -> None:
        while isinstance(output, tuple) and output:  # as recurrent layers give
            output = output[0]
        if not isinstance(output, Tensor):
            return
        layers.append(
            {
                "name": layer_name,
                "kind": type(layer).__name__,
                "output_shape": list(output.shape[1:]),
                "parameters": sum(p.numel() for p in layer.parameters()),
                "multiply_adds": _multiply_adds(layer, output),
            }
        )

    handles = [
        layer.register_forward_hook(lambda layer, _, output, name=layer_name: record(name, layer, output))
        for layer_name, layer in classifier.named_modules()
        if not list(layer.children())
    ]
    was_training = classifier.training
    side = classifier.input_spec.stored_size
    parameter = next(classifier.parameters())
    with torch.inference_mode():
        classifier.eval()(torch.zeros((1, side, side, 3), dtype=torch.uint8, device=parameter.device))
    classifier.train(was_training)
    for handle in handles:
        handle.remove()
    return {
        "name": name,
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "multiply_adds": sum(layer["multiply_adds"] for layer in layers),
        "layers": layers,
    }


def _multiply_adds(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        return output[0].numel() * kernel * layer.in_channels // layer.groups
    if isinstance(layer, nn.Linear):
        return output[0].numel() * layer.in_features
    return 0
