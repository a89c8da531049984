"""bench serving: its clients against a server that counts, and the whole against the real one."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pictorch import bench_serving
from pictorch.benchmarking.clients import image_request, send
from pictorch.benchmarking.serving import CONNECTIONS, IN_FLIGHT, _back_after
from pictorch.benchmarking.serving_rows import LoadRow, quantile
from pictorch.training.console import Console
from tiny_bundle import make_bundle

REQUEST = image_request("/predict", b"PNG")


class CountingServer:
    """Answers with what `plan` says of the number of a request: its status, and headers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.connections: set[Any] = set()
        self.open_now = self.most_open = 0
        self.seconds = 0.0
        self.plan: dict[int, tuple[int, dict[str, str]]] = {}
        self.lock = threading.Lock()


@contextmanager
def counting() -> Iterator[tuple[int, CountingServer]]:
    state = CountingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with state.lock:
                state.bodies.append(body)
                state.connections.add(self.client_address)
                state.open_now += 1
                state.most_open = max(state.most_open, state.open_now)
                status, headers = state.plan.get(len(state.bodies), (200, {}))
            time.sleep(state.seconds)
            with state.lock:
                state.open_now -= 1
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port, state
    finally:
        server.shutdown()
        server.server_close()


def test_each_request_is_a_form_with_the_file_and_is_answered_once() -> None:
    with counting() as (port, state):
        load = send(port, [REQUEST], connections=3, most=20)
    assert len(load.answered) == len(state.bodies) == 20
    assert not load.rejected
    assert not load.failures
    assert len(state.connections) == 3, "connections are kept"
    assert all(b'name="image"; filename=' in body and b"\r\nPNG\r\n--" in body for body in state.bodies)


def test_no_more_requests_are_open_than_there_are_connections() -> None:
    with counting() as (port, state):
        state.seconds = 0.02
        load = send(port, [REQUEST], connections=4, seconds=0.2)
    assert state.most_open == 4
    assert min(load.answered) >= 0.02
    assert load.per_second <= 4 / 0.02


def test_a_client_that_is_sent_away_comes_again_when_it_was_told() -> None:
    with counting() as (port, state):
        state.plan = {1: (503, {"Retry-After": "1"})}
        started = time.perf_counter()
        load = send(port, [REQUEST], connections=1, most=2)
    assert (len(load.rejected), len(load.answered)) == (1, 1)
    assert time.perf_counter() - started >= 1


def test_a_client_does_not_wait_beyond_the_end() -> None:
    with counting() as (port, state):
        state.plan = {1: (503, {"Retry-After": "30"})}
        load = send(port, [REQUEST], connections=1, seconds=0.1)
    assert load.seconds < 5
    assert (len(load.rejected), len(load.answered)) == (1, 0)


def test_a_connection_that_the_server_closes_is_opened_anew() -> None:
    with counting() as (port, state):
        state.plan = {1: (200, {"Connection": "close"}), 2: (422, {})}
        load = send(port, [REQUEST], connections=1, most=3)
    assert (len(load.answered), load.failures) == (2, [422])
    assert len(state.connections) == 2


def test_nobody_there_is_a_failure_and_no_endless_loop() -> None:
    with counting() as (port, _):
        pass
    load = send(port, [REQUEST], connections=1, seconds=0.2)
    assert not load.answered
    assert 1 <= len(load.failures) <= 4


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0, 1.0, 2.0], 0.5, 2.0), ([*range(200)], 0.99, 198), ([1.0], 0.99, 1.0)],
)
def test_quantiles(values: list[float], share: float, expected: float | None) -> None:
    assert quantile(values, share) == expected


def test_latency_is_back_when_twenty_requests_have_the_old_median() -> None:
    slow, rest = [0.1] * 10, [0.01] * 30
    assert _back_after(rest, 0.01) == 0
    assert _back_after(slow + rest, 0.01) == pytest.approx(0.1)  # of the next twenty, nine are slow
    assert _back_after(slow * 9, 0.01) is None


def test_row_of_a_load_that_was_all_rejected_has_no_latency() -> None:
    with counting() as (port, state):
        state.plan = dict.fromkeys(range(1, 9), (503, {"Retry-After": "0"}))
        row = LoadRow.of("overload", 1, send(port, [REQUEST], connections=1, most=3))
    assert (row.answered, row.rejected, row.p50_seconds) == (0, 3, None)
    assert row.shown()["p50"] == "–"


@pytest.mark.slow
def test_bench_serving_measures_the_real_server(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    found = bench_serving(
        bundle.path, seconds=0.5, requests=5_000, out=tmp_path / "out", console=Console("quiet")
    )
    rows = {(row.what, row.connections): row for row in found.rows}
    assert {("server", n) for n in CONNECTIONS} <= rows.keys()
    assert all(row.failed == 0 and row.answered > 0 for row in found.rows)
    assert all(row.rejected == 0 for row in found.rows if row.connections <= IN_FLIGHT)
    over = rows["overload", 10 * IN_FLIGHT]
    assert over.rejected > 0
    assert rows["memory", 8].answered == 5_000
    summary = found.summary
    assert summary.ready_seconds < 10
    assert summary.memory_growth_bytes is not None
    assert summary.memory_growth_bytes < 1e6
    assert summary.peak_images_per_second > rows["server", 1].images_per_second
    record = json.loads((tmp_path / "out/serving.json").read_text())
    assert record["values"][2]["what"] == "server"
    assert str(tmp_path) not in json.dumps(record), "no path of this machine"
    assert (tmp_path / "out/serving.csv").read_text().count("\n") == 1 + len(found.rows)
    assert "| overload |" in (tmp_path / "out/serving.md").read_text()
    assert "POST" in (tmp_path / "out/server.log").read_text()
