"""A bound on what a request may carry: Django itself takes a body of any size onto the disk before it looks at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]  # Django says other things of receive and send than we do

MOST_BYTES = 6 * 1024 * 1024
"""Somewhat more than Django lets a form have (DATA_UPLOAD_MAX_MEMORY_SIZE); nobody uploads files here."""
TOO_LARGE = f"A request may carry {MOST_BYTES // 2**20} MiB at most.\n".encode()


class BoundedBodies:
    """An ASGI application whose requests carry `MOST_BYTES` at most: 413 for who says it is more, cut off for who does
    not say."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] == "http" and _stated(scope) > MOST_BYTES:
            await _refuse(send)
            return
        left, begun = MOST_BYTES, False

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        await self.application(scope, counted, noted)
        if left < 0 and not begun:
            await _refuse(send)


def _stated(scope: Any) -> int:
    """What the request says of its length; 0 when it says nothing that is a number."""
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said) if said.isdigit() and len(said) < 20 else 0


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": TOO_LARGE})
