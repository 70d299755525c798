"""One connection and the conversation over it: a request goes out, the head of an answer comes in."""

from __future__ import annotations

import math

import attrs
import httpx
import trio

from connector.http.deadlines import Phase
from connector.http.dial import Origin
from connector.http.heads import HeadExchange, ResponseHead
from connector.http.inbox import BufferedReader
from connector.http.order import RequestContext
from connector.http.request_body import BufferBody
from connector.http.wire import IdleState, SocketStream

_WITH_HEAD_AT_MOST = 1 << 14
"""Bytes of a body that go out together with the head."""

_CONTINUE_SECONDS = 1.0
"""How long a body that was announced with ``Expect: 100-continue`` waits for the server's word (as in curl)."""

_LAST_WORDS_SECONDS = 2.0
"""How long a server that stopped taking a body may take to say why."""


@attrs.frozen
class Answer:
    """The head of a response, and whether the server had the whole request by then."""

    head: ResponseHead
    request_complete: bool


class Connection:
    """A wire with its inbox. ``requests`` counts what was asked over it, ``idle_since`` is the pool's note."""

    def __init__(self, origin: Origin, wire: SocketStream) -> None:
        self.origin = origin
        self.inbox = BufferedReader(wire)
        self.requests = 0
        self.idle_since = math.inf
        self._wire = wire
        self._received_before = 0

    @property
    def answered(self) -> bool:
        """Whether anything at all came back for the last request."""
        return self.inbox.received > self._received_before

    def glance(self) -> IdleState:
        """What the peer is doing between requests."""
        return IdleState.TALKING if self.inbox.has_leftovers else self._wire.glance()

    def close(self) -> None:
        """Close the wire. May be called twice."""
        self._wire.close()

    async def ask(self, order: RequestContext) -> Answer:
        """Send the request and read the head of the answer; the body then waits in the inbox.

        An answer that comes while the body is still being sent ends the sending. Raises the httpx exceptions
        for transport trouble.
        """
        self.requests += 1
        self._received_before = self.inbox.received
        heads = HeadExchange(order, self.inbox)
        order.phase = Phase.WRITE
        head, body = heads.request_head(), order.body
        if isinstance(body, BufferBody) and body.size <= _WITH_HEAD_AT_MOST and not _expects_word(order):
            # The kernel takes it all at once, so there is no need to listen meanwhile.
            await self._wire.send_all(memoryview(head + body.view), order.deadlines.write)
            order.progress(body.size)
        else:
            await self._wire.send_all(memoryview(head), order.deadlines.write)
            early = await self._send_body(order, heads)
            if early is not None:
                return early
        order.phase = Phase.READ
        return Answer(await heads.response_head(order.deadlines.read), request_complete=True)

    async def _send_body(self, order: RequestContext, heads: HeadExchange) -> Answer | None:
        """Send the body, listening meanwhile. Return the answer if it did not wait for all of it."""
        heard = _Heard()
        sending = trio.CancelScope()
        complete = False
        trouble: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heard.listen, heads, sending)
            with sending:
                try:
                    if _expects_word(order):
                        with trio.move_on_after(_CONTINUE_SECONDS):
                            await heads.continued.wait()
                    await order.body.send(self._wire, idle=order.deadlines.write, progress=order.progress)
                    complete = True
                except Exception as error:  # the nursery would wrap it in a group
                    trouble = error
            if isinstance(trouble, httpx.WriteError):
                # A server that refuses a body says so and closes: its words may still be on the way.
                with trio.move_on_after(_LAST_WORDS_SECONDS):
                    await heard.over.wait()
            nursery.cancel_scope.cancel()
        if trouble is not None and not isinstance(trouble, httpx.WriteError | httpx.WriteTimeout):
            raise trouble  # ours, so the server's word does not explain it
        if heard.head is not None:
            if heard.head.status < 300 and not complete:
                raise httpx.RemoteProtocolError(
                    f"{order.origin.peer} answered {heard.head.status} before it had the whole body."
                )
            return Answer(heard.head, request_complete=complete)
        if trouble is not None:
            raise trouble
        if heard.error is not None:
            raise heard.error
        return None


@attrs.define(eq=False)
class _Heard:
    """What came from the server while a body was sent to it."""

    head: ResponseHead | None = None
    error: httpx.TransportError | None = None
    over: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self, heads: HeadExchange, sending: trio.CancelScope) -> None:
        """Wait for the head of the answer without a deadline, and stop the sending when it comes."""
        try:
            self.head = await heads.response_head(math.inf)
        except httpx.TransportError as error:
            self.error = error
        self.over.set()
        sending.cancel()


def _expects_word(order: RequestContext) -> bool:
    return "100-continue" in order.request.headers.get("expect", "").lower()
