"""The server under load, against a bare ONNX Runtime session in the same run."""

import io
import itertools
import platform
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pictorch import notebook
from pictorch.benchmarking.clients import image_request, send
from pictorch.benchmarking.record import load_now, load_remark, record_of, write_results
from pictorch.benchmarking.served import Served, served
from pictorch.benchmarking.serving_rows import BATCH_IMAGES, LoadRow, ServingSummary, quantile
from pictorch.errors import RecipeError
from pictorch.host import cpu_name, usable_cpus
from pictorch.images import decode_image
from pictorch.predictor import Predictor, load
from pictorch.result_folder import empty_folder
from pictorch.training.console import Console

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
IN_FLIGHT = 64  # requests that the server answers at a time
WARM_UP_REQUESTS = 2_000

_OVERLOAD = 10  # times as many connections as IN_FLIGHT
_OVERLOAD_TIMES = 6  # as long as the other measurements
_BACK_REQUESTS = 20  # whose median has to be as before
_PACKAGES = ("numpy", "pillow", "onnxruntime", "fastapi", "starlette", "uvicorn", "uvloop", "httptools")


@dataclass(frozen=True)
class ServingBench:
    """What `bench serving` found: a row for each load, what they come to, and what a reader must know."""

    out: str
    rows: tuple[LoadRow, ...]
    summary: ServingSummary
    remarks: tuple[str, ...]
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the record, with the folder, as `bench serving --json` prints it."""
        return {"out": self.out, **self.record}

    def _repr_html_(self) -> str:
        loads = notebook.rows("Loads", [row.shown() for row in self.rows], left=("what",))
        summary = notebook.rows("Summary", self.summary.shown(), left=("figure",))
        return notebook.card("Serving", loads, summary, notebook.facts({"folder": self.out}))


def bench_serving(
    bundle: str | Path,
    *,
    seconds: float = 5.0,
    requests: int = 5_000,
    out: str | Path | None = None,
    console: Console | None = None,
) -> ServingBench:
    """Measures `pictorch serve` in a process of its own, with clients in this one, beside a bare session.

    The images are the bundle's golden samples as PNG files, sent as multipart. Each load lasts `seconds`,
    overload six times as long; memory is watched over `requests` requests after a warm-up. `out`
    (runs/serving-NNN) gets serving.json, serving.csv, serving.md and the server's log. Raises RecipeError
    for settings, CheckpointError for the bundle, ResourceError where the server does not come up.
    """
    console = console or Console()
    if seconds <= 0 or requests < 1:
        name, value = ("--seconds", seconds) if seconds <= 0 else ("--requests", requests)
        raise RecipeError(f"{name} {value:g} leaves nothing to measure; give more than 0")
    predictor, before = load(bundle), load_now()
    folder = empty_folder(out, Path("runs"), "serving")
    files = golden_files(predictor)
    console.line("a bare session of ONNX Runtime, in this process")
    alone, batches = _alone(predictor, files, seconds)
    sent = [image_request("/predict", file) for file in files]
    with served(predictor.bundle.path, folder / "server.log", IN_FLIGHT) as server:
        rows, summary = _measured(server, sent, seconds, requests, alone, batches, console)
    remarks = tuple(_remarks(rows, summary, predictor, before))
    words = ["pictorch", "bench", "serving", predictor.bundle.path.name]
    words += ["--seconds", f"{seconds:g}", "--requests", str(requests)]
    record = record_of(
        f"the server under load, with {predictor.bundle.recipe['name']}",
        shlex.join(words),
        environment(),
        n=len(rows),
        load_before=before,
        classes=len(predictor.bundle.class_names),
        image_bytes=[len(file) for file in files],
        summary=asdict(summary),
        values=[asdict(row) for row in rows],
        remarks=remarks,
    )
    tables = [(record["values"], [row.shown() for row in rows]), ([], summary.shown())]
    write_results(folder, "serving", record, tables, remarks)
    return ServingBench(str(folder), tuple(rows), summary, remarks, record)


def _measured(
    server: Served,
    sent: Sequence[bytes],
    seconds: float,
    requests: int,
    alone: LoadRow,
    batches: LoadRow,
    console: Console,
) -> tuple[list[LoadRow], ServingSummary]:
    at_rest = server.memory_bytes()
    console.line(f"ready after {server.ready_seconds:.2f} s; warming up with {WARM_UP_REQUESTS:,} requests")
    send(server.port, sent, connections=8, most=WARM_UP_REQUESTS)
    rows = [alone, batches]
    for connections in CONNECTIONS:
        console.line(f"connections: {connections}")
        load = send(server.port, sent, connections=connections, seconds=seconds)
        rows.append(LoadRow.of("server", connections, load))
    rest, peak = rows[2], max(row.images_per_second for row in rows[2:])
    console.line(f"connections: {_OVERLOAD * IN_FLIGHT}, which are {_OVERLOAD} times too many")
    over = send(server.port, sent, connections=_OVERLOAD * IN_FLIGHT, seconds=_OVERLOAD_TIMES * seconds)
    rows.append(LoadRow.of("overload", _OVERLOAD * IN_FLIGHT, over))
    back = _back_after(send(server.port, sent, connections=1, seconds=seconds).answered, rest.p50_seconds)
    console.line(f"memory over {requests:,} requests")
    memory = server.memory_bytes()
    rows.append(LoadRow.of("memory", 8, send(server.port, sent, connections=8, most=requests)))
    after = server.memory_bytes()
    summary = ServingSummary(
        ready_seconds=round(server.ready_seconds, 3),
        memory_at_rest_bytes=at_rest,
        memory_peak_bytes=server.memory_bytes("VmHWM"),
        overhead_seconds=(rest.p50_seconds or 0.0) - (alone.p50_seconds or 0.0),
        peak_images_per_second=peak,
        share_of_batches=peak / batches.images_per_second,
        goodput=rows[-2].images_per_second / peak,
        rejection_p50_seconds=quantile(over.rejected, 0.5),
        rejection_p99_seconds=quantile(over.rejected, 0.99),
        back_seconds=back,
        memory_growth_bytes=None if memory is None or after is None else after - memory,
        memory_requests=requests,
    )
    return rows, summary


def golden_files(predictor: Predictor) -> list[bytes]:
    """Returns the bundle's golden images as PNG files."""
    files = []
    for pixels in predictor.bundle.golden()[0]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def _alone(predictor: Predictor, files: Sequence[bytes], seconds: float) -> tuple[LoadRow, LoadRow]:
    """Returns what is done without a server: image after image, and decoded ones in batches."""
    golden = predictor.bundle.golden()[0]
    batch = np.resize(golden, (BATCH_IMAGES, *golden.shape[1:]))
    spec = predictor.bundle.input

    def answer(file: bytes) -> None:
        pixels = decode_image(file, spec.stored_size, fit=spec.fit)
        predictor.probabilities(pixels[np.newaxis])

    one = _timed(answer, files, seconds)
    many = _timed(lambda images: predictor.probabilities(images, BATCH_IMAGES), [batch], seconds)
    total = sum(many)
    return (
        LoadRow("decoder and session", 0, len(one), 0, 0, round(len(one) / sum(one), 1), quantile(one, 0.5),
                quantile(one, 0.99), 0.0),
        LoadRow(f"session, batches of {BATCH_IMAGES}", 0, BATCH_IMAGES * len(many), 0, 0,
                round(BATCH_IMAGES * len(many) / total, 1), quantile(many, 0.5), quantile(many, 0.99), 0.0),
    )  # fmt: skip


def _timed(call: Any, arguments: Sequence[Any], seconds: float) -> list[float]:
    """Returns the seconds of each call, after a tenth of the time for warming up."""
    taken: list[float] = []
    again = itertools.cycle(arguments)
    start = time.perf_counter()
    while True:
        before = time.perf_counter()
        call(next(again))
        now = time.perf_counter()
        if now - start > 0.1 * seconds:
            taken.append(now - before)
        if now - start > seconds and taken:
            return taken


def _back_after(latencies: Sequence[float], at_rest: float | None) -> float | None:
    """Returns the seconds until twenty requests, one after the other, have the median that was at rest.

    1.5 times that counts as the same, for a machine is never quite quiet. None where it did not come back.
    """
    passed = 0.0
    for place, latency in enumerate(latencies):
        following = latencies[place : place + _BACK_REQUESTS]
        if at_rest is not None and statistics.median(following) <= 1.5 * at_rest:
            return round(passed, 3)
        passed += latency
    return None


def environment() -> dict[str, Any]:
    """Returns machine and versions, without torch."""
    packages: dict[str, str | None] = {}
    for name in ("pictorch", *_PACKAGES):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpus": usable_cpus(),
        "packages": packages,
    }


def _remarks(
    rows: Sequence[LoadRow], summary: ServingSummary, predictor: Predictor, before: float
) -> Iterator[str]:
    """Yields how the figures were made, and what to think of them."""
    yield (
        f"bundle of {predictor.bundle.recipe['name']}, golden samples as PNG files of "
        f"{predictor.bundle.input.stored_size} pixels, one a request, multipart; {cpu_name()}, CPUs: "
        f"{usable_cpus()}"
    )
    yield "server and clients are two processes on this machine and share its CPUs; the access log is written"
    yield "decoder and session: one file after the other, the session with all CPUs, no HTTP"
    if failed := sum(row.failed for row in rows):
        yield f"{failed:,} requests had neither an answer nor a rejection: see server.log"
    if max(row.client_share for row in rows) > 0.9:
        yield "the clients kept a CPU busy: the server may do more than they can ask for"
    if summary.memory_growth_bytes is None:
        yield "memory is only read on Linux"
    yield from load_remark(before)
