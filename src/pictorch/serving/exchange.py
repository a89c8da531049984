"""One request and the answer to it: its id, its head, and how errors look."""

import json
import re
import secrets
from collections.abc import Mapping
from itertools import count

from starlette.types import Message, Scope, Send

from pictorch.serving.limits import RequestError, Traffic

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROCESS_ID = secrets.token_hex(4)
_NUMBERS = count(1)
_NO_HEADERS: Mapping[str, str] = {}


class Exchange:
    """One request: its id, and the head of the answer, to which the id is added."""

    def __init__(self, scope: Scope, send: Send, traffic: Traffic) -> None:
        self.scope = scope
        self._send = send
        self._traffic = traffic
        self.status = 0
        self.has_ended = False
        self.declared_bytes = 0
        self.encoding = b"identity"
        self.content_type = ""
        self.request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _SANE_ID.fullmatch(value):
                self.request_id = value.decode()
            elif name == b"content-length" and value.isdigit():
                self.declared_bytes = int(value[:18])
            elif name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"content-encoding":
                self.encoding = value.lower()
        self.request_id = self.request_id or f"{_PROCESS_ID}-{next(_NUMBERS)}"
        scope["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        """Sends a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
            if self._traffic.draining:
                message["headers"].append((b"connection", b"close"))
        else:
            self.has_ended = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, error: RequestError, *, more_body: bool = False) -> None:
        """Sends an error as JSON; with `more_body` the connection stays open until it is closed."""
        content = json.dumps(error_body(self.scope["path"], error, self.request_id)).encode()
        await self.send_json(error.status, content, error.headers, more_body=more_body)

    async def send_json(
        self,
        status: int,
        content: bytes,
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        more_body: bool = False,
    ) -> None:
        """Sends a whole answer."""
        sent = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        sent += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": sent})
        await self.send({"type": "http.response.body", "body": content, "more_body": more_body})


def error_body(path: str, error: RequestError, request_id: str) -> object:
    """Returns the JSON of an error: below /v2 a text, as the Open Inference Protocol has it."""
    return {"error": str(error)} if path.startswith("/v2") else error.to_json(request_id)
