"""TensorBoard's view of a training: curves, classes, pictures and the graph; nothing reads it back."""

import copy
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from pictorch.images import shown
from pictorch.networks.graph import GraphNode, trace_graph
from pictorch.plugins import in_short
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.session import Session

_SAMPLE_SIDE = 128  # pixels; of larger samples every second pixel is left out, or more
_MATRIX_SIDE, _CELL_SIDE, _MOST_NUMBERED = 800, 36, 40  # pixels, pixels, classes
_RIGHT, _WRONG, _INK = np.array((37, 99, 235)), np.array((234, 88, 12)), (17, 24, 39)


class TensorBoard:
    """Writes the view. Where it cannot be written, a line says so and training goes on without it.

    torch's SummaryWriter is not used: its thread shows a full disk to the user as a traceback.
    """

    def __init__(self, run: RunFolder, session: Session, console: Console) -> None:
        """Opens the view where the training stands: what it has of later steps counts no more."""
        self._run, self._console = run, console
        self._records: RecordWriter | None = None
        if not session.group.is_first:
            return
        is_new = not run.tensorboard_path.exists()
        with self._explained():
            run.tensorboard_path.mkdir(exist_ok=True)
            path = run.tensorboard_path / f"events.out.tfevents.{time.time_ns()}"
            self._records = RecordWriter(path.open("wb"))
        self._add(0, file_version="brain.Event:2")
        self._add(session.step + 1, session_log=SessionLog(status=SessionLog.START))
        if is_new:
            self._begin(session)
        self.flush()

    def close(self) -> None:
        """Writes what is left."""
        with self._explained():
            if self._records is not None:
                self._records.close()

    def flush(self) -> None:
        """Hands what was added to the system, so that it can be seen."""
        with self._explained():
            if self._records is not None:
                self._records.flush()

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Adds a point to each curve that has a value."""
        for name, value in values.items():
            if value is not None:
                self._add(step, summary=summary.scalar(name, value))  # type: ignore[no-untyped-call]

    def classes(
        self, fractions: Mapping[str, Sequence[float]], confusion: NDArray[np.int64], step: int
    ) -> None:
        """Adds a point to each curve of a class, as precision/cat, and a picture of the confusion matrix."""
        for score, values in fractions.items():
            named = zip(self._class_names, values, strict=True)
            self.scalars({f"{score}/{name}": value for name, value in named}, step)
        self._images("confusion", draw_confusion(confusion), step, "HWC")

    def _images(self, name: str, images: NDArray[np.uint8], step: int, axes: str) -> None:
        self._add(step, summary=summary.image(name, images, dataformats=axes))  # type: ignore[no-untyped-call]

    def _add(self, step: int, **content: Any) -> None:
        with self._explained():
            if self._records is not None:
                event = Event(wall_time=time.time(), step=step, **content)
                self._records.write(event.SerializeToString(deterministic=True))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            records, self._records = self._records, None
            with suppress(OSError):
                if records is not None:
                    records.close()
            self._console.line(
                f"training goes on without TensorBoard: {self._run.tensorboard_path} cannot be written "
                f"({error.strerror})"
            )

    @cached_property
    def _class_names(self) -> list[str]:
        return [shown(name) for name in self._run.data()["class_names"]]

    def _begin(self, session: Session) -> None:
        """Adds what is the same for the whole training: samples, the numbers of the classes, the graph."""
        samples = self._run.samples()
        if samples:
            thinned = -(-samples["augmented"].shape[1] // _SAMPLE_SIDE)
            for name in ("images", "augmented"):
                self._images(f"samples/{name}", samples[name][:, ::thinned, ::thinned], 0, "NHWC")
            numbered = (f"{number} {name}" for number, name in enumerate(self._class_names))
            self._add(0, summary=summary.text("classes", "  \n".join(numbered)))  # type: ignore[no-untyped-call]
        try:
            graph = graph_def(trace_graph(copy.deepcopy(session.network)))
        except Exception as error:  # a network of the user's own may do what cannot be followed
            self._console.detail(f"no graph for TensorBoard ({in_short(error)})")
        else:
            self._add(0, graph_def=graph.SerializeToString(deterministic=True))


def graph_def(nodes: Sequence[GraphNode]) -> GraphDef:
    """Returns a graph as TensorBoard reads it: layers grouped by the modules that they lie in."""
    seen, names = Counter[str](), list[str]()
    for node in nodes:
        path = node.name.replace(".", "/")
        names.append(f"{path}_{seen[path]}" if seen[path] else path)
        seen[path] += 1
    graph = GraphDef()
    for name, node in zip(names, nodes, strict=True):
        dims = [TensorShapeProto.Dim(size=size) for size in (-1, *node.output_shape)]
        shape = AttrValue(list=AttrValue.ListValue(shape=[TensorShapeProto(dim=dims)]))
        attributes = {"_output_shapes": shape}
        if node.parameters:
            attributes["parameters"] = AttrValue(i=node.parameters)
        inputs = [names[place] for place in node.inputs]
        graph.node.append(NodeDef(name=name, op=node.kind, input=inputs, attr=attributes))
    return graph


def draw_confusion(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns a picture uint8 (H, W, 3) of a matrix whose row i holds the images of class i by answer.

    A cell is the deeper, the larger its share of its row is: blue where the answer is right, else orange.
    Up to 40 classes are numbered, and their cells hold the share in percent.
    """
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    num_classes = len(counts)
    inks = np.where(np.eye(num_classes, dtype=bool)[..., None], _RIGHT, _WRONG)
    cells: NDArray[np.uint8] = np.rint(255 + (inks - 255) * shares[..., None]).astype(np.uint8)
    if num_classes > _MOST_NUMBERED:
        return cells.repeat(max(1, _MATRIX_SIDE // num_classes), 0).repeat(
            max(1, _MATRIX_SIDE // num_classes), 1
        )
    margin = _CELL_SIDE
    picture = np.full((margin + _CELL_SIDE * num_classes,) * 2 + (3,), 255, np.uint8)
    picture[margin:, margin:] = cells.repeat(_CELL_SIDE, 0).repeat(_CELL_SIDE, 1)
    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    middles = [margin + _CELL_SIDE * number + _CELL_SIDE // 2 for number in range(num_classes)]
    for number, middle in enumerate(middles):
        for place in ((middle, margin // 2), (margin // 2, middle)):
            draw.text(place, str(number), _INK, font, anchor="mm")
        for other, share in enumerate(shares[number]):
            if round(100 * share):
                ink = "white" if share > 0.5 else _INK
                draw.text((middles[other], middle), f"{100 * share:.0f}", ink, font, anchor="mm")
    return np.asarray(image)
