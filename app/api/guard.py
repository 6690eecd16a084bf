"""What every request and every answer goes through, whatever the route: one piece of plain ASGI."""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import SECURITY_HEADERS
from app.api.problems import Problem, respond

MAX_HEAD_BYTES = 16 * 1024
"""A request's address and headers."""

_WHOLE = 4  # times the patience between two pieces is that for a whole body


class Guard:
    """Answers HEAD as GET without the body, sends the security headers, refuses heads and bodies that are too large,
    and gives up on bodies that do not come."""

    def __init__(self, app: ASGIApp, patience: float, max_body: int) -> None:
        self._app = app
        self._patience = patience
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if _head_bytes(scope) > MAX_HEAD_BYTES:
            problem = Problem(431, "head-too-large", f"Address and headers are more than {MAX_HEAD_BYTES} bytes")
            await respond(Request(scope), problem)(scope, receive, guarded)
            return
        body = _Body(receive, self._patience, self._max_body, Headers(scope=scope).get("content-length"))
        await self._app(scope, body.receive, guarded)


def _head_bytes(scope: Scope) -> int:
    address = len(scope["path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) for name, value in scope["headers"])


class _Body:
    """A request's body, which has to keep coming, and to end."""

    def __init__(self, receive: Receive, patience: float, max_body: int, announced: str | None) -> None:
        self._receive = receive
        self._patience = patience
        self._until = time.monotonic() + _WHOLE * patience
        self._left = max_body
        self._announced = int(announced) if announced and announced.isdigit() else 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next piece. Raises `HTTPException`."""
        if self._is_whole:
            return await self._receive()
        if self._announced > self._left:
            raise _too_large()
        try:
            wait = min(self._patience, self._until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), max(wait, 0))
        except TimeoutError:
            raise HTTPException(408, "The body did not come", headers={"Connection": "close"}) from None
        self._is_whole = not message.get("more_body", False)
        self._announced = 0
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large()
        return message


def _too_large() -> HTTPException:
    return HTTPException(413, "The body is larger than API_MAX_BODY_BYTES allows", headers={"Connection": "close"})
