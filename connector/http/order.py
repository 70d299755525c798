"""One request, with everything that its extensions ask of the transport."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import httpx
import trio

from connector.http.deadlines import Deadlines, Phase
from connector.http.dial import Origin
from connector.http.request_body import RequestBody, body_of

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.2


@attrs.define(eq=False)
class RequestContext:
    """A request on its way. ``ends`` is the moment of trio's clock when all of it must be over."""

    request: httpx.Request
    origin: Origin
    body: RequestBody
    sink: memoryview | None
    deadlines: Deadlines
    ends: float
    on_bytes: Callable[[int], None] | None
    phase: Phase = Phase.POOL
    moved: int = 0

    @classmethod
    async def of(cls, request: httpx.Request) -> RequestContext:
        """Read ``request``. Raises :class:`httpx.UnsupportedProtocol`."""
        deadlines = Deadlines.from_extensions(request.extensions)
        sink = request.extensions.get("sink")
        return cls(
            request=request,
            origin=Origin.of(request),
            body=await body_of(request),
            sink=None if sink is None else memoryview(sink).cast("B"),
            deadlines=deadlines,
            ends=trio.current_time() + deadlines.whole,
            on_bytes=request.extensions.get("on_bytes"),
        )

    @property
    def replayable(self) -> bool:
        """Whether sending it twice does no harm and is possible."""
        return self.request.method in _IDEMPOTENT and self.body.replayable

    def progress(self, count: int) -> None:
        """Tell the caller that ``count`` more bytes of a body have moved."""
        if not count:
            return
        self.moved += count
        if self.on_bytes is not None:
            self.on_bytes(count)

    def rewind(self) -> None:
        """Take back the progress of an attempt that is going to be repeated."""
        if self.moved:
            self.progress(-self.moved)

    def overdue(self) -> httpx.TimeoutException:
        """The error for a request whose time as a whole is over."""
        return self.phase.timeout(
            f"The request to {self.origin.peer} was not over after {self.deadlines.whole:g} seconds: "
            f"{self.phase.value}."
        )
