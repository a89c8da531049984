"""The networks that there are: their sizes, their layers, and the graph of one as a file."""

import shlex
from pathlib import Path
from typing import Any

import torch

from pictorch import durable
from pictorch.errors import RecipeError
from pictorch.images import InputSpec
from pictorch.networks import NETWORKS, Classifier, build_network
from pictorch.networks.graph import trace_graph
from pictorch.networks.summary import summarize
from pictorch.randomness import Purpose, derived_seed
from pictorch.recipe import ModelSection


def models(
    name: str | None = None,
    *,
    num_classes: int = 10,
    image_size: int = 32,
    graph: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Returns the summaries of all networks, or of the named one; raises RecipeError when unknown.

    In the list of all, a network that cannot take such images has None for its numbers. `graph` is a file
    that the graph of the named one is written to, with drawn weights: an ONNX file where it ends in .onnx,
    a drawing where in .svg; one that is there already is refused.
    """
    if num_classes < 2 or image_size < 1:
        raise RecipeError(
            f"--num-classes {num_classes} --image-size {image_size} is too little; "
            "give at least 2 classes and 1 pixel"
        )
    spec = InputSpec(stored_size=image_size, image_size=image_size)
    target = None if graph is None else _graph_file(Path(graph), name)
    if name is not None:
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(0, Purpose.INITIALIZATION))
            network = build_network(ModelSection(name=name), num_classes, spec, size_flag="--image-size ")
        summary = summarize(network, name)
        if target is not None:
            with durable.explained(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(target, _graph_bytes(network, summary, target.suffix))
        return [summary]
    rows = []
    for each in NETWORKS:
        try:
            rows.append(summarize(build_network(ModelSection(name=each), num_classes, spec), each))
        except RecipeError:
            rows.append({"name": each, "parameters": None, "multiply_adds": None, "layers": []})
    return rows


def _graph_file(target: Path, name: str | None) -> Path:
    if name is None:
        example = f"pictorch models simple_net --graph {shlex.quote(str(target))}"
        raise RecipeError(f"--graph {target} is for one network; name it, as `{example}`")
    if target.suffix not in (".onnx", ".svg"):
        raise RecipeError(
            f"--graph {target} ends in neither .onnx (the graph) nor .svg (a drawing); "
            f"give `--graph {shlex.quote(f'{target.parent / (target.stem or name)}.svg')}`"
        )
    if target.exists():
        raise RecipeError(f"--graph {target} is there already; choose another name or remove it")
    return target


def _graph_bytes(network: Classifier, summary: dict[str, Any], suffix: str) -> bytes:
    if suffix == ".onnx":
        from pictorch.exporting.onnx_graph import ClassProbabilities, onnx_bytes

        return onnx_bytes(ClassProbabilities(network).eval(), network.input_spec)
    from pictorch.exporting.graph_drawing import draw_graph

    side, multiply_adds = network.input_spec.image_size, summary["multiply_adds"] / 1e6
    about = (
        f"{summary['parameters']:,} parameters, {multiply_adds:,.1f} M multiply-adds an image; "
        f"{side} x {side} pixels, {network.num_classes} classes"
    )
    return draw_graph(summary["name"], about, trace_graph(network)).encode()
