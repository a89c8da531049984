"""The server as it stands in the world: slow senders, clients that leave, crowds, and its end."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pictorch.predictor import Predictor
from pictorch.serving.limits import Limits
from pictorch.serving.process import Server
from served_process import in_process, in_thread
from tiny_bundle import make_bundle

HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def post(port: int, body: bytes, path: str = "/predict") -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, body, {"Content-Type": "image/png"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said, dict(answer.getheaders())


def heard(connection: socket.socket) -> bytes:
    """Returns everything until the server closes."""
    connection.settimeout(20)
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


def request(green: bytes) -> bytes:
    return f"{HEAD}Content-Length: {len(green)}\r\n\r\n".encode() + green


@contextmanager
def slow_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[int]]]:
    """Lets no batch end before the event is set; the list has the sizes of those begun."""
    go, sizes = threading.Event(), list[int]()
    true = Predictor.probabilities

    def waits(self: Predictor, images: Any, **options: Any) -> Any:
        sizes.append(len(images))
        assert go.wait(20)
        return true(self, images, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "probabilities", waits)
        yield go, sizes
        go.set()


def test_a_slow_sender_is_told_and_sent_away(colors: Path, green: bytes) -> None:
    with in_thread(colors, Limits(receive_seconds=0.2)) as server:
        with socket.create_connection(("127.0.0.1", port_of(server))) as body, \
             socket.create_connection(("127.0.0.1", port_of(server))) as head:  # fmt: skip
            body.sendall(request(green)[:-1])
            head.sendall(HEAD.encode())
            assert heard(head) == b"", "no head, no answer"
            said = heard(body)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in said
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"
        assert post(port_of(server), green)[0] == 200
        assert server.service.traffic.held_bytes == 0


def test_a_body_of_100_mb_is_refused_by_its_head(colors: Path) -> None:
    """The answer comes before the body is sent, and reaches a client that sends on."""
    with in_thread(colors) as server, socket.create_connection(("127.0.0.1", port_of(server))) as client:
        client.sendall(f"{HEAD}Content-Length: 100000000\r\n\r\n".encode() + bytes(200_000))
        client.settimeout(20)
        said = client.recv(65536)
        assert said.startswith(b"HTTP/1.1 413 ")
        client.sendall(bytes(5_000_000))
        assert server.service.traffic.held_bytes == 0


def test_a_body_that_grows_without_end_is_cut(colors: Path) -> None:
    with in_thread(colors, Limits(max_body_bytes=100_000)) as server:
        with socket.create_connection(("127.0.0.1", port_of(server))) as client:
            client.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(4):
                client.sendall(b"8000\r\n" + bytes(0x8000) + b"\r\n")
            client.settimeout(20)
            assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert server.service.traffic.held_bytes == 0


def test_a_client_that_leaves_costs_nothing_more(
    colors: Path, green: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_model(monkeypatch) as (go, sizes), in_thread(colors) as server:
        traffic, metrics = server.service.traffic, server.service.metrics
        stays = threading.Thread(target=post, args=(port_of(server), green))
        stays.start()
        until(lambda: sizes == [1])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port_of(server))) as leaves:
                leaves.sendall(request(green))
                until(lambda: traffic.in_flight == 2)
            until(lambda: traffic.in_flight == 1)
        go.set()
        stays.join(20)
        assert sizes == [1], "those who left were not computed"
        until(lambda: traffic.in_flight == 0)
        assert b'code="499"} 5.0' in metrics.text()


def until(holds: Any) -> None:
    end = time.perf_counter() + 20
    while not holds():
        assert time.perf_counter() < end
        time.sleep(0.005)


def test_a_hundred_at_once_are_all_answered(colors: Path, green: bytes) -> None:
    with in_thread(colors, Limits(max_in_flight=100)) as server, ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(lambda _: post(port_of(server), green), range(100)))
    assert Counter(status for status, *_ in answers) == {200: 100}
    assert {answer["class"] for _, answer, _ in answers} == {"green"}


def test_a_full_server_says_when_to_come_again(
    colors: Path, green: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it says so to who has sent only the head, while those inside are answered."""
    with slow_model(monkeypatch) as (go, sizes), in_thread(colors, Limits(max_in_flight=3)) as server:
        with ThreadPoolExecutor(3) as clients:
            inside = [clients.submit(post, port_of(server), green) for _ in range(3)]
            until(lambda: server.service.traffic.in_flight == 3)
            seconds = set()
            for _ in range(8):
                start = time.perf_counter()
                with socket.create_connection(("127.0.0.1", port_of(server))) as outside:
                    outside.settimeout(20)
                    outside.sendall(f"{HEAD}Content-Length: 5000\r\n\r\n".encode())
                    said = outside.recv(65536)
                assert time.perf_counter() - start < 1
                assert said.startswith(b"HTTP/1.1 503 ")
                seconds.add(int(said.partition(b"retry-after: ")[2].partition(b"\r\n")[0]))
            assert seconds == {1, 2, 3, 4}
            assert b"pictorch_requests_rejected_total 8.0" in server.service.metrics.text()
            assert b"pictorch_requests_in_flight 3.0" in server.service.metrics.text()
            go.set()
            assert [one.result()[0] for one in inside] == [200] * 3
        assert post(port_of(server), green)[0] == 200
        assert sum(sizes) == 4


def test_bodies_of_all_together_are_bounded(colors: Path) -> None:
    limits = Limits(max_body_bytes=100_000, receive_seconds=5)
    with in_thread(colors, limits) as server:
        clients = []
        for _ in range(9):
            clients.append(socket.create_connection(("127.0.0.1", port_of(server))))
            clients[-1].sendall(f"{HEAD}Content-Length: 100000\r\n\r\n".encode() + bytes(99_999))
        until(lambda: server.service.metrics.text().count(b'code="503"} 1.0') == 1)
        assert server.service.traffic.held_bytes <= limits.max_received_bytes
        for client in clients:
            client.close()
        until(lambda: server.service.traffic.held_bytes == 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_accepted_request_is_lost_at_the_end(
    colors: Path, green: bytes, tmp_path: Path, number: int
) -> None:
    """Clients send without pause when the signal comes; each answer says whether its connection ends."""
    with in_process(colors, tmp_path / "log") as running, ThreadPoolExecutor(16) as pool:
        stop_at = time.perf_counter() + 1.0
        clients = [pool.submit(sends_until_told, running.port, green) for _ in range(16)]
        time.sleep(max(0.0, stop_at - time.perf_counter()))
        started = time.perf_counter()
        assert running.stop(number) == 0
        assert time.perf_counter() - started < 5
        results = [client.result() for client in clients]
        log = (tmp_path / "log").read_text().splitlines()
    assert {outcome for _, outcome in results} == {"told to close"}
    answered = sum(count for count, _ in results)
    assert answered > 100
    assert sum(" POST /predict 200 " in line for line in log) == answered, "each is one line"
    assert sum(" POST " in line for line in log) == answered


def sends_until_told(port: int, body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for count in range(1_000_000):
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            answer.read()
        except OSError as error:
            return count, repr(error)
        if answer.status != 200:
            return count, str(answer.status)
        if answer.getheader("connection") == "close":
            return count + 1, "told to close"
    raise AssertionError


@pytest.mark.slow
def test_a_bundle_that_was_tampered_with_is_never_listened_for(colors: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bad").path
    (bundle / "model.onnx").write_bytes(b"\1" + (bundle / "model.onnx").read_bytes()[1:])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pictorch", "serve", str(bundle), "--port", str(port)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert "sha256 of model.onnx differs" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.slow
def test_the_command_tells_its_address_and_needs_little(colors: Path, green: bytes, tmp_path: Path) -> None:
    started = time.perf_counter()
    with in_process(colors, tmp_path / "log", "-q") as running:
        assert time.perf_counter() - started < 10, "2 s on an idle machine"
        assert post(running.port, green)[1]["class"] == "green"
        assert running.memory_bytes() < 250e6
        assert running.stop() == 0
    assert (tmp_path / "log").read_text() == "", "-q leaves stderr to errors"
