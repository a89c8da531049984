"""What stands before the routes: admission, bodies, clients that leave, the access log."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pictorch.images import shown
from pictorch.serving.access_log import LOG
from pictorch.serving.exchange import Exchange
from pictorch.serving.limits import RequestError, Traffic
from pictorch.serving.metrics import Metrics

_WATCH_AFTER_SECONDS = 0.05
_CLIENT_LEFT = 499  # as nginx logs it; nobody receives it
_DROP_SECONDS = 2.0

Shortcut = Callable[[bytes, str], Awaitable[bytes]]  # from body and Content-Type to JSON


class Front:
    """Wraps the routes. A POST is admitted before its body is read, and read whole before it is routed.

    `shortcuts` answer POSTs to their paths that have no query; FastAPI's way to a function would take as long
    as decoding a small image.
    """

    def __init__(
        self, app: ASGIApp, traffic: Traffic, metrics: Metrics, shortcuts: Mapping[str, Shortcut]
    ) -> None:
        self._app = app
        self._shortcuts = shortcuts
        self._traffic = traffic
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is an answer in JSON and a line in the log."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        exchange = Exchange(scope, send, self._traffic)
        try:
            if scope["method"] == "POST":
                await self._post(exchange, receive)
            else:
                await self._app(scope, receive, exchange.send)
        except RequestError as error:
            if error.status == 503:
                self._metrics.rejected.inc()
            await exchange.refuse(error)
        except _ClientLeftError:
            exchange.status = _CLIENT_LEFT
        except Exception:
            LOG.exception("request %s failed, which is a bug of pictorch", exchange.request_id)
            if exchange.status == 0:
                await exchange.refuse(
                    RequestError(500, "bug", "a bug of pictorch; its log tells more under this request_id")
                )
        seconds = time.perf_counter() - started
        self._metrics.answered(exchange.status, seconds)
        LOG.info(
            "%s %s %s %s %d %.1f ms", exchange.request_id, (scope.get("client") or "-")[0], scope["method"],
            shown(scope["path"])[:200], exchange.status, 1000 * seconds,
        )  # fmt: skip
        return None

    async def _post(self, exchange: Exchange, receive: Receive) -> None:
        traffic = self._traffic
        parts: list[bytes] = []
        try:
            try:
                await self._receive(exchange, receive, parts)
            except RequestError as error:
                if error.status != 413:
                    raise
                traffic.held_bytes -= sum(map(len, parts))
                parts.clear()
                await exchange.refuse(error, more_body=True)
                return await _drop_the_rest(exchange, receive)
            traffic.in_flight += 1
            try:
                await self._answer(exchange, receive, b"".join(parts))
            finally:
                traffic.in_flight -= 1
        finally:
            traffic.held_bytes -= sum(map(len, parts))

    async def _receive(self, exchange: Exchange, receive: Receive, parts: list[bytes]) -> None:
        """Collects the body; raises RequestError as soon as it is known that it cannot be taken."""
        traffic, limits = self._traffic, self._traffic.limits
        traffic.check_room()
        if exchange.encoding != b"identity":
            raise RequestError(415, "compressed", "compressed bodies are not read; send it as it is")
        limits.check_body(exchange.declared_bytes)
        message: Message = {"more_body": True}
        received_bytes = 0
        try:
            async with asyncio.timeout(limits.receive_seconds):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientLeftError
                    parts.append(message.get("body", b""))
                    received_bytes += len(parts[-1])
                    traffic.held_bytes += len(parts[-1])
                    limits.check_body(received_bytes)
                    traffic.check_room()
        except TimeoutError:
            raise RequestError(
                408, "too_slow",
                f"the body did not arrive within {limits.receive_seconds:g} s; send a smaller image",
                {"Connection": "close"},
            ) from None  # fmt: skip

    async def _answer(self, exchange: Exchange, receive: Receive, body: bytes) -> None:
        """Lets the routes answer; where the client leaves meanwhile, they are cancelled."""
        task = asyncio.current_task()
        assert task is not None
        watch = _Watch(exchange, receive, task)
        given = False

        async def body_then_nothing() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope = exchange.scope
        shortcut = None if scope["query_string"] else self._shortcuts.get(scope["path"])
        try:
            if shortcut is None:
                await self._app(scope, body_then_nothing, exchange.send)
            else:
                await exchange.send_json(200, await shortcut(body, exchange.content_type))
        except asyncio.CancelledError:
            if not watch.has_left:
                raise
            task.uncancel()
            raise _ClientLeftError from None
        finally:
            watch.end()


class _ClientLeftError(Exception):
    """The connection has gone before the answer."""


class _Watch:
    """Cancels a task when its client leaves; begins only where the answer takes its time."""

    def __init__(self, exchange: Exchange, receive: Receive, task: "asyncio.Task[object]") -> None:
        self.has_left = False
        self._exchange = exchange
        self._receive = receive
        self._task = task
        self._watching: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, self._begin)

    def end(self) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._until_it_leaves())

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._exchange.has_ended:  # receive says the same once the whole answer is sent
            self.has_left = True
            self._task.cancel()


async def _drop_the_rest(exchange: Exchange, receive: Receive) -> None:
    """Takes what is still sent, for a while, so that the client comes to read its answer; then closes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DROP_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
