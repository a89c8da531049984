"""`models --graph`: the computation graph of a network as ONNX and as a drawing."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

import pictorch
from own_module import write_own_net
from pictorch import cli
from pictorch.bundle.onnx_model import OnnxModel
from pictorch.exporting.graph_drawing import _CHARACTER, draw_graph
from pictorch.exporting.network_list import models
from pictorch.networks.graph import GraphNode

SVG = "{http://www.w3.org/2000/svg}"


def read(path: str) -> ElementTree.Element:
    return ElementTree.fromstring(Path(path).read_bytes())


def texts(drawing: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in drawing.iter(f"{SVG}text")]


def check_places(drawing: ElementTree.Element) -> None:
    """Every text of a box lies inside one, no two of a line touch, and boxes lie inside the paper."""
    paper, *rects = drawing.iter(f"{SVG}rect")
    boxes = [
        [float(rect.get(key, "")) for key in ("x", "y", "width", "height")]
        for rect in rects
        if rect.get("class") == "box"
    ]
    width, height = float(paper.get("width", "")), float(paper.get("height", ""))
    assert all(x + w < width and y + h < height for x, y, w, h in boxes)
    assert all(y + h < below for (_, y, _, h), (_, below, *_) in pairwise(boxes))
    lines: dict[float, list[tuple[float, float]]] = {}
    for text in list(drawing.iter(f"{SVG}text"))[2:]:
        x, y, long = float(text.get("x", "")), float(text.get("y", "")), _CHARACTER * len(text.text or "")
        x -= long if "end" in (text.get("class") or "") else 0
        lines.setdefault(y, []).append((x, x + long))
        assert any(bx < x and x + long < bx + bw and by < y < by + bh for bx, by, bw, bh in boxes)
    for ends in lines.values():
        assert all(end < begin for (_, end), (begin, _) in pairwise(sorted(ends)))


@pytest.mark.parametrize("name", ["simple_net", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_the_drawing_shows_every_layer(name: str) -> None:
    (summary,) = models(name, graph="graph.svg")
    drawing = read("graph.svg")
    shown = texts(drawing)
    assert shown[0] == name
    assert f"{summary['parameters']:,} parameters" in shown[1]
    for layer in summary["layers"]:
        assert layer["name"] in shown
        assert layer["kind"] in shown
        assert " x ".join(map(str, layer["output_shape"])) in shown
    check_places(drawing)


def test_edges_that_skip_boxes_have_lanes_of_their_own() -> None:
    """0 -> 1 -> 2 -> 3 -> 4, with 0 -> 2, 2 -> 4 in one lane, and 0 -> 4 in the lane of 0 -> 2."""
    inputs = [(), (0,), (0, 1), (2,), (0, 2, 3)]
    drawing = ElementTree.fromstring(
        draw_graph("g", "", [GraphNode(str(n), "add", found, (1,), 0) for n, found in enumerate(inputs)])
    )
    edges = [path.get("d", "") for path in drawing.iter(f"{SVG}path") if path.get("class") == "edge"]
    down = [edge for edge in edges if "H" not in edge]
    lanes = [re.search(r"H([\d.]+)q", edge)[1] for edge in edges if "H" in edge]  # type: ignore[index]
    assert len(down) == 4
    assert len(lanes) == 3
    assert len(set(lanes)) == 2, "from box 0 one lane, from box 2 another, inside it"


def test_names_of_any_script_are_drawn_and_escaped() -> None:
    node = GraphNode("network.卷积<1>&", "卷积'\"", (), (3, 8), 5)
    drawing = ElementTree.fromstring(draw_graph("网络<b>", "a & b", [node]))
    assert texts(drawing) == ["网络<b>", "a & b", node.name, "3 x 8", node.kind, "5 parameters"]


@pytest.mark.slow
def test_the_onnx_graph_runs_and_is_the_same_each_time() -> None:
    for name in ("one.onnx", "two.onnx"):
        models("simple_net", num_classes=3, image_size=8, graph=name)
    data = Path("one.onnx").read_bytes()
    assert data == Path("two.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(data))
    model = OnnxModel(data, name="one.onnx", size=8, num_classes=3, threads=1)
    assert model.probabilities(np.zeros((5, 8, 8, 3), np.uint8)).shape == (5, 3)


def test_the_command_writes_an_own_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_net(monkeypatch)
    words = ["models", "own_net_of_mine:OwnNetOfMine", "--image-size", "8", "--graph", "deep/图.svg"]
    assert cli.main(words) == 0
    assert "graph   deep/图.svg" in capsys.readouterr().out
    assert {"network.conv", "network.relu", "network.drop", "network.flatten", "network.fc"} <= set(
        texts(read("deep/图.svg"))
    )


def test_torchs_generator_is_left_as_it_was() -> None:
    import torch

    torch.manual_seed(5)
    before = torch.get_rng_state()
    pictorch.models("simple_net")
    assert torch.equal(torch.get_rng_state(), before)
