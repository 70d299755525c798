"""Responses in every form that RFC 9110 and 9112 allow for what the client asks, and those that are cut off."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence

import attrs
from hypothesis import strategies as st

from tests.support.scripted_server import Peer

CONTENT = bytes(range(256)) * 64
"""The object: 16 KiB."""
ETAG = '"opaque"'
CODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress}
HARMLESS = ["", "identity", "aws-chunked", "aws-chunked,", "Identity, aws-chunked"]


@attrs.frozen
class Range:
    """The bytes of the object that are asked for."""

    start: int
    stop: int


@attrs.frozen
class Answer:
    """How one request is answered.

    `sends` is "range", "first" (of the range, RFC 9110, section 15.3.7.2), "whole", or a status that refuses;
    `framing` how the end of the body is told (RFC 9112, section 6.3); `early` whether it comes before the request's
    body is read; `cut` after which share of the response the connection is ended, by `end`.
    """

    sends: str | int
    framing: str
    version: str
    interim: Sequence[int]
    coding: str
    connection: str
    line_end: bytes
    style: str
    chunk: int
    early: bool
    cut: float | None
    end: str
    step: int
    behind: bytes

    @property
    def is_whole(self) -> bool:
        """Whether all of the response is sent."""
        return self.cut is None

    @property
    def ends_connection(self) -> bool:
        return self.framing == "close" or self.version == "1.0" or self.connection.lower() == "close"

    @property
    def is_reset(self) -> bool:
        """Whether the connection ends so that what is on the way may be lost."""
        return self.end == "reset" and (self.cut is not None or self.ends_connection)

    def wire(self, body: bytes, status: int, fields: Sequence[tuple[str, str]] = ()) -> bytes:
        """The bytes of the response."""
        reason = "" if self.style == "bare" else " Reason in \u00fcbersetzt"
        lines = [f"HTTP/{self.version} {status}{reason}"]
        named = [*fields, ("X-Empty", ""), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]
        if self.connection:
            named.append(("Connection", self.connection))
        if self.framing in ("length", "both"):
            named.append(("Content-Length", f"{len(body):>08}" if self.style == "padded" else str(len(body))))
        if self.framing == "twice":
            named += [("Content-Length", str(len(body)))] * 2
        if self.framing in ("chunked", "both"):
            named.append(("Transfer-Encoding", "Chunked" if self.style == "upper" else "chunked"))
            body = self._chunks(body)
        lines += [self._field(name, value) for name, value in named]
        head = self.line_end.join(line.encode("latin-1") for line in lines) + self.line_end * 2
        before = b"".join(
            b"HTTP/1.1 %d Wait%sLink: </x>%s%s" % (each, self.line_end, self.line_end, self.line_end)
            for each in self.interim
        )
        return before + head + body

    def _field(self, name: str, value: str) -> str:
        match self.style:
            case "upper":
                return f"{name.upper()}:{value}"
            case "spaced":
                return f"{name.lower()}: \t {value} \t"
        return f"{name}: {value}"

    def _chunks(self, body: bytes) -> bytes:
        extension = {"spaced": b" ; a=b", "upper": b';a="b c"'}.get(self.style, b"")
        size = {"padded": b"%024x", "upper": b"%X"}.get(self.style, b"%x")
        pieces = [body[at : at + self.chunk] for at in range(0, len(body), self.chunk)]
        wire = b"".join(size % len(piece) + extension + b"\r\n" + piece + b"\r\n" for piece in pieces)
        return wire + b"0" + extension + (b"\r\nX-Trailer: 1\r\n\r\n" if self.style == "spaced" else b"\r\n\r\n")

    async def play(self, peer: Peer, wire: bytes) -> bool:
        """Send the response; whether the connection stays open."""
        if self.cut is not None:
            await peer.send(wire[: int(len(wire) * self.cut)], step=self.step)
        else:
            # Without another end, whatever comes before that of the connection is part of the body.
            behind = b"" if self.framing == "close" else self.behind
            await peer.send(wire + behind, step=self.step)
            if not self.ends_connection:
                return True
        if self.end == "reset":
            peer.reset()
        return False


_SENDS: list[str | int] = [*["range"] * 6, "first", "whole", 204, 302, 304, 307, 400, 403, 404, 416, 429, 503]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Any of them; most are whole, so that connections are used again."""
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    framings = ["length", "twice", "close"] if version == "1.0" else ["length", "chunked", "twice", "both", "close"]
    return Answer(
        sends=draw(st.sampled_from(_SENDS)),
        framing=draw(st.sampled_from(framings)),
        version=version,
        interim=draw(st.lists(st.sampled_from([100, 102, 103]), max_size=3)),
        coding=draw(st.sampled_from([*HARMLESS, *HARMLESS, "gzip", "deflate", "x-gzip", "br"])),
        connection=draw(st.sampled_from(["", "", "keep-alive", "Close", "close"])),
        line_end=draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])),
        style=draw(st.sampled_from(["usual", "upper", "spaced", "padded", "bare"])),
        chunk=draw(st.sampled_from([1000, 4096, 1 << 20])),
        early=draw(st.sampled_from([False, False, True])),
        cut=draw(st.none() | st.none() | st.floats(0, 1)),
        end=draw(st.sampled_from(["close", "reset"])),
        step=draw(st.sampled_from([0, 0, 0, 1000])),
        behind=draw(st.sampled_from([b"", b"", b"", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\nforged"])),
    )


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Any part of the object, often the whole."""
    start = draw(st.sampled_from([0, 0, 1, 5000, len(CONTENT) - 1]))
    stop = draw(st.sampled_from([start + 1, min(start + 4000, len(CONTENT)), len(CONTENT)]))
    return Range(start, stop)
