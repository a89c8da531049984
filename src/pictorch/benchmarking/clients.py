"""Closed-loop HTTP clients: each connection sends its next request when the last one is answered.

They do as little as they can (ready-made bytes out, status and length read from the answer), so that on
one machine the server is measured and not its clients.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle

_BOUNDARY = "pictorch-bench"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_GRACE_SECONDS = 10.0
_ACCEPTING_SECONDS = 0.001  # for each connection, which servers take one at a time
_NO_ANSWER = 0
_CLOSED = b"HTTP/1.1 000\r\nConnection: close"


@dataclass
class Load:
    """What came back: seconds of each answered and each rejected request, and the statuses of others.

    `seconds` is how long requests were sent, `client_seconds` the processor time of the clients.
    """

    answered: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    seconds: float = 0.0
    client_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return len(self.answered) / self.seconds


def image_request(path: str, image: bytes) -> bytes:
    """Returns the bytes of a POST that sends a PNG file as the form field `image`."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    body = head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={_BOUNDARY}"
        f"\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def send(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float = 3600.0,
    most: int | None = None,
) -> Load:
    """Returns what came back to clients on 127.0.0.1 that took turns through `requests`.

    All are connected before the clock starts. They send for `seconds`, or until `most` requests were sent.
    Where a server answers 503, a client waits for as long as Retry-After says, and then sends again.
    """
    import uvloop

    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has an event loop already
        return thread.submit(uvloop.run, _send(port, requests, connections, seconds, most)).result()


async def _send(
    port: int, requests: Sequence[bytes], connections: int, seconds: float, most: int | None
) -> Load:
    opened = await asyncio.gather(*(_connected(port) for _ in range(connections)), return_exceptions=True)
    await asyncio.sleep(_ACCEPTING_SECONDS * connections)
    load, turns = Load(), _Turns(cycle(requests), time.perf_counter() + seconds, most)
    started, busy = time.perf_counter(), time.process_time()
    clients = [asyncio.create_task(_client(load, turns, port, each)) for each in opened]
    _, hanging = await asyncio.wait(clients, timeout=seconds + _GRACE_SECONDS)
    load.seconds = time.perf_counter() - started
    load.client_seconds = time.process_time() - busy
    for client in hanging:
        client.cancel()
    load.failures += [_NO_ANSWER] * len(hanging)
    await asyncio.gather(*clients, return_exceptions=True)
    return load


@dataclass
class _Turns:
    """The next request of all clients, while there is one."""

    requests: Iterator[bytes]
    end: float
    left: int | None

    def next(self) -> bytes | None:
        if self.left == 0 or time.perf_counter() >= self.end:
            return None
        if self.left is not None:
            self.left -= 1
        return next(self.requests)


async def _client(load: Load, turns: _Turns, port: int, opened: "_Connection | BaseException") -> None:
    connection = opened if isinstance(opened, _Connection) else None  # to be opened once more
    try:
        while (request := turns.next()) is not None:
            pause = started = 0.0
            try:
                connection = connection or await _connected(port)
                started = time.perf_counter()
                head = await connection.answer(request)
            except OSError:
                load.failures.append(_NO_ANSWER)
                head, pause = _CLOSED, 0.1
            taken, status = time.perf_counter() - started, int(head[9:12])
            if status == 200:
                load.answered.append(taken)
            elif status == 503:
                load.rejected.append(taken)
                retry = _RETRY_AFTER.search(head)
                pause = float(retry[1]) if retry else 0.0
            elif head is not _CLOSED:
                load.failures.append(status)
            if connection is not None and _CLOSES.search(head):
                connection.close()
                connection = None
            if pause:
                left = turns.end - time.perf_counter()
                await asyncio.sleep(max(0.0, min(pause, left)))
                if pause >= left:  # a timer may ring a little early
                    break
    finally:
        if connection is not None:
            connection.close()


async def _connected(port: int) -> "_Connection":
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
    return connection


class _Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._head: asyncio.Future[bytes] | None = None

    def answer(self, request: bytes) -> "asyncio.Future[bytes]":
        """Returns the head of the answer to a request, after all of its body came; raises OSError."""
        self._head, self._received = asyncio.get_running_loop().create_future(), b""
        if self._transport.is_closing():
            self._head.set_exception(ConnectionResetError())
        self._transport.write(request)
        return self._head

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if separator and len(body) >= int(_LENGTH.search(head)[1]):  # type: ignore[index]
            self._end(head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ConnectionResetError())

    def _end(self, head: bytes | OSError) -> None:
        if self._head is None or self._head.done():
            return
        if isinstance(head, bytes):
            self._head.set_result(head)
        else:
            self._head.set_exception(head)
