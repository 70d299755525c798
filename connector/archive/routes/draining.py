"""Reads what is left of a request's body before the answer goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class DrainRequestBody:
    """Wraps an ASGI application so that no answer leaves while its request is still arriving.

    An application that refuses an upload does not read it. A client that is busy sending would then find its
    connection closed under its hands instead of the refusal, so the rest of the body is taken and thrown away.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        ended = False

        async def watched_receive() -> Any:
            nonlocal ended
            message = await receive()
            ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def drained_send(message: Any) -> None:
            while not ended:
                await watched_receive()
            await send(message)

        await self._app(scope, watched_receive, drained_send)
