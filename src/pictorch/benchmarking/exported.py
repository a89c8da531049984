"""The forms of one bundle beside each other: size, time to load, latency, images/s and accuracy."""

import gzip
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictorch import notebook
from pictorch.benchmarking.exported_rows import RULE, FormRow, advice
from pictorch.benchmarking.latency import BATCH_SIZE, LATENCY_THREADS
from pictorch.benchmarking.record import load_now, load_remark, record_of, write_results
from pictorch.benchmarking.serving import environment
from pictorch.bundle import Bundle
from pictorch.bundle.bundle import MODEL
from pictorch.bundle.onnx_model import cpu_session
from pictorch.datasets import SourceRef
from pictorch.datasets.arrays import source_name
from pictorch.datasets.of_bundle import splits_of_bundle
from pictorch.errors import GateError, MissingPartError, RecipeError
from pictorch.exporting.forms import ExportedForm, FormSource, make_form
from pictorch.exporting.speed import call_seconds
from pictorch.host import cpu_name, instruction_sets, usable_cpus
from pictorch.markup import element
from pictorch.predictor import load
from pictorch.result_folder import empty_folder
from pictorch.softmax import probabilities
from pictorch.training.console import Console

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Opener = Callable[[int], Answer]  # of a number of threads

_LOADS = 3
_WRITTEN = ("onnx", "web", "triton", "mobile")


@dataclass(frozen=True)
class ExportBench:
    """What `bench export` found: a row for each form, the advice, and what a reader must know."""

    out: str
    rows: tuple[FormRow, ...]
    advice: str
    remarks: tuple[str, ...]
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the record, with the folder, as `bench export --json` prints it."""
        return {"out": self.out, **self.record}

    def _repr_html_(self) -> str:
        forms = notebook.rows("Forms", [row.shown() for row in self.rows], left=("form",))
        return notebook.card("Export", forms, element("p", self.advice), notebook.facts({"folder": self.out}))


def bench_export(
    bundle: str | Path,
    *,
    data: SourceRef | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
) -> ExportBench:
    """Makes the forms of a bundle, or of a run's bundle, and measures them beside each other on this CPU.

    `data` says where its images lie: int8 is calibrated on them, and the accuracy is that on the validation
    images; without it forms are compared on golden samples and mixtures of them. A form that cannot be made
    is a row with the reason. `out` (runs/export-NNN) gets the forms, export.json, export.csv and export.md.
    Raises CheckpointError for the bundle, DataError for other images, RecipeError, ResourceError.
    """
    console = console or Console()
    opened, before = load(bundle).bundle, load_now()
    folder = empty_folder(out, Path("runs"), "export")
    splits = None if data is None else splits_of_bundle(opened, data, console.line)
    source = FormSource(opened, console.line, splits)
    rows, openers = _made(source, folder)
    rows = _measured(source, rows, openers)
    remarks = tuple(_remarks(opened, rows, data, before))
    said = advice(rows)
    words = ["pictorch", "bench", "export", opened.path.name]
    words += [] if data is None else ["--data", Path(source_name(data)).name]
    record = record_of(
        f"the forms of {opened.recipe['name']}",
        shlex.join(words),
        {**environment(), "instruction_sets": instruction_sets(), "openvino": _openvino_version()},
        n=len(rows),
        load_before=before,
        values=[asdict(row) for row in rows],
        advice=said,
        advice_rule=RULE,
        remarks=remarks,
    )
    write_results(
        folder, "export", record, [(record["values"], [row.shown() for row in rows])], [*remarks, said, RULE]
    )
    return ExportBench(str(folder), tuple(rows), said, remarks, record)


def _made(source: FormSource, folder: Path) -> tuple[list[FormRow], dict[str, Opener]]:
    """Returns a row for each form, and how those are opened that answer in this process."""
    kind = "int8" if source.bundle.facts.quantization else "float"
    graphs = {kind: source.bundle.files[MODEL]}
    rows, openers = [FormRow(f"{kind} bundle", len(graphs[kind]))], {f"{kind} bundle": _opener(source.bundle)}
    for form in ("int8", *_WRITTEN):
        source.progress(f"form: {form}")
        made = _attempt(form, source, folder / form)
        if isinstance(made, Bundle):
            graphs["int8"] = made.files[MODEL]
            rows.append(FormRow("int8 bundle", len(graphs["int8"])))
            openers["int8 bundle"] = _opener(made)
        elif isinstance(made, ExportedForm):
            packed = _gzip_bytes(made) if form == "web" else None
            rows.append(FormRow(form, sum(made.files.values()), packed).agreeing(made.agreement))
            if form == "onnx":
                openers[form] = _plain_opener(made)
        else:
            rows.append(FormRow(form, reason=made))
    for kind, each in graphs.items():
        name = f"OpenVINO, {kind} graph"
        reason = "" if _openvino_version() else "it is not installed; `pip install openvino` adds this row"
        rows.append(FormRow(name, None if reason else len(each), reason=reason))
        if not reason:
            openers[name] = _openvino_opener(each)
    return rows, openers


def _attempt(form: str, source: FormSource, target: Path) -> ExportedForm | Bundle | str:
    """Returns the form that was made, or why it was not."""
    if form == "mobile" and source.network is None:
        return "PyTorch writes it, from a run: `pictorch export RUN --to mobile`"
    try:
        return make_form(form, source, target)
    except (GateError, MissingPartError, RecipeError) as error:
        return str(error).replace(str(source.bundle.path), source.bundle.path.name)


def _opener(bundle: Bundle) -> Opener:
    return lambda threads: partial(bundle.model(threads).probabilities, batch_size=BATCH_SIZE)


def _plain_opener(form: ExportedForm) -> Opener:
    """The caller of the plain form normalises and takes the softmax himself; both are timed with it."""
    graph = (form.path / MODEL).read_bytes()
    mean, std = (np.array(form.facts[name], np.float32) for name in ("mean", "std"))

    def opened(threads: int) -> Answer:
        session = cpu_session(graph, threads)

        def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            parts = []
            for start in range(0, len(images), BATCH_SIZE):
                pixels = images[start : start + BATCH_SIZE].astype(np.float32) / 255
                normalised = np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))
                parts += session.run(None, {session.get_inputs()[0].name: normalised})
            return probabilities(np.concatenate(parts)).astype(np.float32)

        return answer

    return opened


def _openvino_version() -> str | None:
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def _openvino_opener(graph: bytes) -> Opener:
    """OpenVINO would compute in bf16 by itself where the CPU can; the comparison is of equal arithmetic."""
    import openvino  # type: ignore[import-not-found, import-untyped, unused-ignore]

    def opened(threads: int) -> Answer:
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        # It gives the thread that compiles a signal stack of its own, which does not outlive the model: a
        # signal that came later would end this process.
        with ThreadPoolExecutor(1) as thread:
            compiled = thread.submit(core.compile_model, core.read_model(graph), "CPU", settings).result()

        def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            starts = range(0, len(images), BATCH_SIZE)
            return np.concatenate([compiled([images[at : at + BATCH_SIZE]])[0] for at in starts])

        return answer

    return opened


def _measured(source: FormSource, rows: list[FormRow], openers: Mapping[str, Opener]) -> list[FormRow]:
    """Returns the rows with what those say that answer here; the others took the bundle's answers over."""
    threads = usable_cpus()
    loads = {name: _load_seconds(partial(opener, threads)) for name, opener in openers.items()}
    golden = source.bundle.golden()[0]
    one, many = golden[:1], np.resize(golden, (BATCH_SIZE, *golden.shape[1:]))
    source.progress(
        f"timing one image with threads: {LATENCY_THREADS}, then {BATCH_SIZE} with threads: {threads}"
    )
    single = _timed({name: opener(LATENCY_THREADS) for name, opener in openers.items()}, one)
    answers = {name: opener(threads) for name, opener in openers.items()}
    batch = _timed(answers, many)
    source.progress("answers of every form beside the bundle's")
    found = {
        name: np.concatenate([answer(images) for images in source.images()])
        for name, answer in answers.items()
    }
    val = source.splits.val if source.splits is not None else None
    labels = val.labels[val.indices] if val is not None else np.empty(0, np.int64)
    expected = found[rows[0].form]
    judged = {
        row.form: replace(
            row.judged(expected, found[row.form], labels),
            load_seconds=loads[row.form],
            p50_seconds=single[row.form],
            images_per_second=round(BATCH_SIZE / batch[row.form], 1),
        )
        for row in rows
        if row.form in openers
    }
    return [judged.get(row.form, row) for row in rows]


def _timed(answers: Mapping[str, Answer], images: NDArray[np.uint8]) -> dict[str, float]:
    """Returns the median seconds of each for these images."""
    taken = call_seconds({name: partial(answer, images) for name, answer in answers.items()})
    return {name: median(seconds) for name, seconds in taken.items()}


def _load_seconds(load: Callable[[], object]) -> float:
    """Returns the median seconds from the bytes of a model to one that can answer."""
    taken = []
    for _ in range(_LOADS):
        start = time.perf_counter()
        load()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _gzip_bytes(form: ExportedForm) -> int:
    """Returns what a server would send that packs each file, in bytes."""
    return sum(len(gzip.compress((form.path / name).read_bytes())) for name in form.files)


def _remarks(bundle: Bundle, rows: Sequence[FormRow], data: SourceRef | None, before: float) -> Iterator[str]:
    """Yields how the figures were made, and why some are missing."""
    vnni = "with" if "avx512_vnni" in instruction_sets() else "without"
    yield (
        f"bundle of {bundle.recipe['name']}, images of {bundle.input.stored_size} pixels; {cpu_name()} "
        f"{vnni} VNNI, CPUs: {usable_cpus()}"
    )
    yield (
        "bundles and the plain form (normalised by NumPy) answer through ONNX Runtime; load: from the "
        "bytes to a model that can answer; one image: one thread; "
        f"images/s: batches of {BATCH_SIZE}, all CPUs; medians, the forms take turns"
    )
    if data is None:
        yield "no accuracy without --data; forms were compared on golden samples and mixtures of them"
    if any(row.form in _WRITTEN and row.size_bytes is not None for row in rows):
        yield "a form without a speed runs elsewhere; its answers were compared when it was made"
    if _openvino_version():
        yield f"OpenVINO {_openvino_version()}, told to compute the float parts in float32"
    yield from (f"{row.form}: {row.reason}" for row in rows if row.reason)
    yield from load_remark(before)
