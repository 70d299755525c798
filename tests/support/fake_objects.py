"""An object client whose storage is a handler of httpx requests, such as the archive in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from connector.clients.api_transport import FAILURES, broken, server_of
from connector.clients.object_responses import EtagRecord, find_range, stored_md5
from connector.clients.objects import error_from_response
from connector.errors import RETRY, RETRY_NOW, BrokenError, IntegrityError
from connector.transfer import Progress


class FakeObjects:
    """An :class:`~connector.clients.objects.ObjectClient` without sockets: the same checks, other bytes."""

    def __init__(self, handler: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]) -> None:
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(handler), timeout=None, trust_env=False)
        self._etags = EtagRecord()

    async def fetch_into(
        self, url: str, start: int, stop: int, buffer: memoryview, on_bytes: Progress, *, size: int | None = None
    ) -> int:
        received, wanted = 0, stop - start
        async with self._response("GET", url, headers={"Range": f"bytes={start}-{stop - 1}"}) as reply:
            skip = find_range(server_of(url), reply.status_code, reply.headers, start, stop, size).offset
            async for piece in reply.aiter_raw():
                chunk = piece[skip:][: wanted - received]
                skip -= min(skip, len(piece))
                buffer[received : received + len(chunk)] = chunk
                received += len(chunk)
                on_bytes(len(chunk))
        if received < wanted:
            raise BrokenError(f"{server_of(url)} sent {received} of {wanted} bytes.", advice=RETRY_NOW)
        return received

    async def put_from(self, url: str, buffer: memoryview, on_bytes: Progress, *, md5: str) -> str:
        async with self._response("PUT", url, content=bytes(buffer)) as reply:
            on_bytes(len(buffer))
            if self._etags.is_damaged(md5, stored_md5(reply.headers)):
                raise IntegrityError(f"{server_of(url)} has stored other bytes of a part than were sent.", advice=RETRY)
            return str(reply.headers.get("etag", ""))

    @asynccontextmanager
    async def _response(self, method: str, url: str, **request: Any) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream(method, url, **request) as reply:
                if reply.status_code not in (200, 206):
                    body = await reply.aread()
                    raise error_from_response(method, server_of(url), reply.status_code, reply.headers, body)
                yield reply
        except FAILURES as error:
            raise broken(error, server_of(url)) from error
