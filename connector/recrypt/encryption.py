"""Encrypting one local file for a recipient, as a transfer of the scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from connector.core.header import make_envelope
from connector.core.layout import Part, Parts, align_to_segments, sealed_size
from connector.core.segments import PartSealer, SealedLayout
from connector.local.partial_file import PartialFile, check_target
from connector.local.source_file import SourceFile
from connector.recrypt.request import RecryptedFile, RecryptRequest
from connector.transfer import Observer, Progress

T = TypeVar("T")


@attrs.frozen
class _Opened:
    source: SourceFile
    sealer: PartSealer
    total: int
    file: PartialFile


class Encryption:
    """Seals a file part by part under a fresh session key; also an empty one, which becomes an envelope alone.

    ``draw`` gives random bytes.
    """

    def __init__(
        self,
        request: RecryptRequest,
        *,
        private_key: bytes,
        recipients: Sequence[bytes],
        part_size: int,
        overwrite: bool,
        threads: trio.CapacityLimiter,
        observer: Observer,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.label = request.path.name
        self._request = request
        self._private_key = private_key
        self._recipients = recipients
        self._part_size = align_to_segments(part_size)
        self._overwrite = overwrite
        self._threads = threads
        self._observer = observer
        self._draw = draw
        self._source: SourceFile | None = None
        self._file: PartialFile | None = None
        self._state: _Opened | None = None

    async def open(self) -> Sequence[Part]:
        """Open the source and begin the sealed file."""
        return await self._in_thread(self._open)

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, seal and write one part."""
        await self._in_thread(lambda: self._move(part, buffer))
        progress(part.size)

    async def finish(self) -> RecryptedFile:
        """Check that the source stayed the same and give the sealed file its name."""
        state = self._opened
        await self._in_thread(state.source.check_unchanged)
        await self._in_thread(state.file.complete)
        return RecryptedFile(self._request.path, self._request.target, state.total)

    async def close(self) -> None:
        """Let go of both files; an unfinished one is removed."""
        for file in (self._source, self._file):
            if file is not None:
                await self._in_thread(file.close)

    @property
    def _opened(self) -> _Opened:
        assert self._state is not None, "open() comes first"
        return self._state

    def _open(self) -> Sequence[Part]:
        request = self._request
        check_target(request.target, overwrite=self._overwrite)
        self._source = source = SourceFile.open(request.path)
        session_key = self._draw(32)
        envelope = make_envelope(
            session_key, sender_private_key=self._private_key, recipient_public_keys=self._recipients
        )
        total = len(envelope) + sealed_size(source.state.size)
        sealer = PartSealer(
            SealedLayout(envelope, source.state.size),
            session_key=session_key,
            nonce_seed=self._draw(32),
            draw=self._draw,
        )
        self._file = file = PartialFile.open(request.target, size=total, kind="encryption", facts=None)
        self._state = _Opened(source, sealer, total, file)
        self._observer.opened(self.label, total)
        return Parts(total, self._part_size)

    def _move(self, part: Part, buffer: memoryview) -> None:
        state = self._opened
        loaded = state.sealer.load(part, buffer, state.source.read_into)
        state.file.write(part.start, [loaded.seal()])

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
