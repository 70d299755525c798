"""Heads of requests and responses, written and parsed by h11. Bodies never pass through it."""

from __future__ import annotations

import attrs
import h11
import httpx
import trio

from connector.http.inbox import BufferedReader
from connector.http.order import RequestContext

_INTERIM_AT_MOST = 32
_HEAD_AT_MOST = 1 << 16


@attrs.frozen
class ResponseHead:
    """Status line and header fields of a final response."""

    status: int
    reason: bytes
    http_version: bytes
    headers: httpx.Headers

    @property
    def keeps_alive(self) -> bool:
        """Whether the server means to keep the connection (RFC 9112, section 9.3)."""
        return self.http_version >= b"1.1" and "close" not in _tokens(self.headers)


class HeadExchange:
    """Writes the head of one request and reads the head of its response, skipping the interim ones."""

    def __init__(self, order: RequestContext, inbox: BufferedReader) -> None:
        self.continued = trio.Event()
        self._inbox = inbox
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_AT_MOST)
        self._order = order

    def request_head(self) -> bytes:
        """The bytes of the request's head. Raises :class:`httpx.LocalProtocolError` if it cannot be written."""
        request = self._order.request
        try:
            head = self._parser.send(
                h11.Request(method=request.method, target=request.url.raw_path, headers=self._request_headers())
            )
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(f"The request is malformed: {error}.") from error
        return head or b""

    async def response_head(self, idle: float) -> ResponseHead:
        """Read up to the end of the final response's head; what was read beyond goes back to the inbox.

        May be cancelled and called again: nothing is lost. Raises :class:`httpx.RemoteProtocolError`,
        :class:`httpx.ReadError`, :class:`httpx.ReadTimeout`.
        """
        interim = 0
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                self._inbox.give_back(self._parser.trailing_data[0])
                return ResponseHead(
                    status=event.status_code,
                    reason=bytes(event.reason),
                    http_version=bytes(event.http_version),
                    headers=httpx.Headers(event.headers.raw_items()),
                )
            if isinstance(event, h11.InformationalResponse):
                interim += 1
                if interim > _INTERIM_AT_MOST:
                    raise httpx.RemoteProtocolError(f"{self._order.origin.peer} sent interim responses without end.")
                self.continued.set()
                continue
            data = await self._inbox.some(_HEAD_AT_MOST, idle)
            if not data:
                raise httpx.RemoteProtocolError(
                    f"{self._order.origin.peer} closed the connection without an answer to the request."
                )
            self._parser.receive_data(bytes(data))

    def _next_event(self) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(f"{self._order.origin.peer} does not speak HTTP/1.1: {error}.") from error

    def _request_headers(self) -> list[tuple[bytes, bytes]]:
        order = self._order
        drop: set[bytes] = set()
        add: list[tuple[bytes, bytes]] = []
        if order.sink is not None:
            # Only the bytes themselves may land in a sink.
            drop.add(b"accept-encoding")
            add.append((b"Accept-Encoding", b"identity"))
        given = order.request.headers
        if order.body.size is None:
            if "content-length" not in given and "transfer-encoding" not in given:
                add.append((b"Transfer-Encoding", b"chunked"))
        elif order.body.size or "transfer-encoding" in given:
            drop |= {b"content-length", b"transfer-encoding"}
            add.append((b"Content-Length", b"%d" % order.body.size))
        if "host" not in given:
            add.append((b"Host", order.request.url.netloc))
        return [(name, value) for name, value in order.request.headers.raw if name.lower() not in drop] + add


def _tokens(headers: httpx.Headers) -> set[str]:
    return {token.strip().lower() for token in headers.get("connection", "").split(",")}
