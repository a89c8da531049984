"""The server process: a verified bundle behind uvicorn, its connections timed, its end without loss."""

import asyncio
import errno
import gc
import resource
import signal
import socket
import threading
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pictorch.errors import RecipeError, ResourceError
from pictorch.host import usable_cpus
from pictorch.predictor import load
from pictorch.serving.app import create_app
from pictorch.serving.limits import Limits, limits_of
from pictorch.serving.service import Service

_BACKLOG = 4096
_KEEP_ALIVE_SECONDS = 75  # longer than proxies keep theirs, so that none sends into a closing connection
_DRAIN_SECONDS = 0.5
_LONGEST_DRAIN_SECONDS = 60


def serve(
    source: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_body_mb: float = 16.0,
    max_images: int = 64,
    max_in_flight: int = 64,
    receive_seconds: float = 10.0,
) -> None:
    """Answers over HTTP from a bundle, or a run's bundle, until SIGTERM or SIGINT.

    It verifies the bundle before it listens; port 0 takes a free one. Raises CheckpointError for the
    bundle, RecipeError for a port or limit that cannot be, ResourceError for an address that cannot.
    """
    limits = limits_of(max_body_mb, max_images, max_in_flight, receive_seconds)
    listen(source, host, port, limits).run()


def listen(source: str | Path, host: str, port: int, limits: Limits) -> "Server":
    """Returns a server for a verified bundle that has its address; raises as `serve` does."""
    predictor = load(source, threads=max(1, usable_cpus() - 1))  # a CPU is left to decoding and HTTP
    app = create_app(predictor, limits)
    return Server(app.state.service, uvicorn.Config(
        app, http=_Connection, ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, backlog=_BACKLOG, timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LONGEST_DRAIN_SECONDS,
    ), _bound(host, port))  # fmt: skip


class Server(uvicorn.Server):
    """Uvicorn with the end that a service behind a balancer needs."""

    def __init__(self, service: Service, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self.service = service
        self._listener = listener

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers until a signal ends it."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # macOS has a limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is an open file
        gc.freeze()  # what lives from here to the end is not searched for garbage, which stops every thread
        super().run([self._listener])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens no more; for a moment open connections are answered and told to close, then they are."""
        self.service.traffic.draining = True
        for server in self.servers:
            server.close()
        await asyncio.sleep(_DRAIN_SECONDS)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends orderly at SIGTERM and SIGINT, which are not raised again: the exit code is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Joining:
    """A transport that hands head and body of an answer to the system together; uvicorn writes them apart."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        if len(self._parts) > 1:
            self._flush()
        else:
            self._loop.call_soon(self._flush)  # where nothing follows the head

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))


class _Connection(HttpToolsProtocol):
    """Closes where the head of a request, or the rest of one that is answered, takes too long to arrive.

    The body of any other request is timed where it is read, so that it can be answered with 408.
    """

    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect()

    def on_message_complete(self) -> None:
        self._end_timer()
        super().on_message_complete()

    def _expect(self) -> None:
        self._end_timer()
        seconds = self.config.app.state.service.limits.receive_seconds  # type: ignore[union-attr]
        self._timer = self.loop.call_later(1.1 * seconds, self._too_slow)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _too_slow(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def _bound(host: str, port: int) -> socket.socket:
    """Returns a listening socket; raises RecipeError and ResourceError."""
    if not 0 <= port <= 65535:
        raise RecipeError(f"--port {port} is no port; give one up to 65535, or `--port 0` for any free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ResourceError(
                f"{host}:{port} is in use already; take another port, with `--port 0` any free one"
            ) from None
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(
            f"{host}:{port} cannot be listened on ({reason}); take an address of this machine, as "
            "`--host 127.0.0.1`, and a port from 1024 on"
        ) from None
