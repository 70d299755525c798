"""Just enough HTTP/1.1 to stand between a client and a server: heads, and where bodies end."""

from __future__ import annotations

import attrs
import trio


@attrs.frozen
class Head:
    """A head as it came, and what it says."""

    raw: bytes
    start: tuple[str, str, str]
    fields: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        start = (*first.split(" ", 2), "", "")[:3]
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return cls(raw, (start[0], start[1], start[2]), fields)

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        text = self.fields.get("content-length")
        return None if text is None else int(text)

    @property
    def closes(self) -> bool:
        return "close" in self.fields.get("connection", "").lower()


class Messages:
    """The incoming direction of a stream, cut into heads and bodies."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def head(self) -> Head | None:
        """Read a head; ``None`` if the stream ends before it does."""
        while b"\r\n\r\n" not in self._buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return Head.parse(raw + b"\r\n\r\n")

    async def some(self, at_most: int) -> bytes:
        """Read some bytes of a body, empty at the end of the stream."""
        if not self._buffer:
            return bytes(await self.stream.receive_some(at_most))
        data, self._buffer = self._buffer[:at_most], self._buffer[at_most:]
        return data

    async def line(self) -> bytes:
        """Read a line with its end; what there is of it at the end of the stream."""
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                break
            self._buffer += data
        at = self._buffer.find(b"\n") + 1 or len(self._buffer)
        line, self._buffer = self._buffer[:at], self._buffer[at:]
        return line


class Body:
    """A body on its way through: pieces as they lie on the wire, each with whether it is content or framing."""

    def __init__(self, messages: Messages, *, length: int | None, chunked: bool, piece: int = 1 << 18) -> None:
        self.length = length
        self.finished = length == 0 and not chunked
        self._messages = messages
        self._chunked = chunked
        self._left = 0 if chunked else length
        self._piece = piece
        self._chunk_open = False

    async def next(self) -> tuple[bytes, bool] | None:
        """The next piece, ``None`` at the end. ``finished`` then tells whether it was the right end."""
        if self.finished:
            return None
        if self._chunked and not self._left:
            return await self._frame()
        data = await self._messages.some(self._piece if self._left is None else min(self._left, self._piece))
        if not data:
            self.finished = self._left is None
            return None
        if self._left is not None:
            self._left -= len(data)
            self.finished = not self._left and not self._chunked
        return data, True

    async def _frame(self) -> tuple[bytes, bool] | None:
        line = b""
        if self._chunk_open:
            line += await self._messages.line()
            self._chunk_open = False
        size_line = await self._messages.line()
        if not size_line.endswith(b"\n"):
            return None
        line += size_line
        self._left = int(size_line.split(b";")[0], 16)
        self._chunk_open = True
        if not self._left:
            while (trailer := await self._messages.line()) not in (b"\r\n", b"\n", b""):
                line += trailer
            line += trailer
            self.finished = True
        return line, False
