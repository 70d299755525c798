"""Decrypting one local Crypt4GH file, as a transfer of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from connector.core.edit_list import Kept, kept_runs, place
from connector.core.header import MAX_ENVELOPE_SIZE, OpenedEnvelope, envelope_size, open_envelope
from connector.core.layout import CIPHER_SEGMENT_SIZE, Part, Parts, align_to_segments, opened_size
from connector.core.segments import Opener
from connector.errors import GIVE_UP, IntegrityError
from connector.local.partial_file import PartialFile, check_target
from connector.local.source_file import SourceFile
from connector.recrypt.request import RecryptedFile, RecryptRequest
from connector.transfer import Observer, Progress

T = TypeVar("T")

_PROBE = 4096
"""Bytes read at first to find the envelope's size: more than most envelopes have."""


@attrs.frozen
class _Opened:
    source: SourceFile
    opener: Opener
    header_size: int
    runs: tuple[Kept, ...]
    file: PartialFile


class Decryption:
    """Opens the segments of a file part by part; an edit list in its envelope is obeyed.

    The order of segments is not authenticated by Crypt4GH, and a local file comes with no checksum of its plaintext:
    a file cut at a segment border is noticed only by whoever knows its size.
    """

    def __init__(
        self,
        request: RecryptRequest,
        *,
        private_key: bytes,
        part_size: int,
        overwrite: bool,
        threads: trio.CapacityLimiter,
        observer: Observer,
    ) -> None:
        self.label = request.path.name
        self._request = request
        self._private_key = private_key
        self._part_size = align_to_segments(part_size)
        self._overwrite = overwrite
        self._threads = threads
        self._observer = observer
        self._source: SourceFile | None = None
        self._file: PartialFile | None = None
        self._state: _Opened | None = None

    async def open(self) -> Sequence[Part]:
        """Read the envelope and begin the plaintext's file."""
        return await self._in_thread(self._open)

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, open and write one part."""
        await self._in_thread(lambda: self._move(part, buffer))
        progress(part.size)

    async def finish(self) -> RecryptedFile:
        """Check that the source stayed the same and give the plaintext its name."""
        state = self._opened
        await self._in_thread(state.source.check_unchanged)
        await self._in_thread(state.file.complete)
        size = sum(run.stop - run.start for run in state.runs)
        return RecryptedFile(self._request.path, self._request.target, size)

    async def close(self) -> None:
        """Let go of both files; an unfinished plaintext is removed."""
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
        envelope = _read_envelope(source, self._private_key)
        content = source.state.size - envelope.size
        runs = kept_runs(envelope.edit_list, opened_size(content))
        size = sum(run.stop - run.start for run in runs)
        self._file = file = PartialFile.open(request.target, size=size, kind="decryption", facts=None)
        self._state = _Opened(source, Opener(envelope.session_keys), envelope.size, runs, file)
        self._observer.opened(self.label, content)
        return Parts(content, self._part_size)

    def _move(self, part: Part, buffer: memoryview) -> None:
        state = self._opened
        first = part.start // CIPHER_SEGMENT_SIZE
        state.source.read_into(state.header_size + part.start, [buffer])
        try:
            views = state.opener.open_part(buffer, first_segment=first)
        except IntegrityError as error:
            # Reading the same disk again will not help, and nobody but its owner has another copy.
            raise IntegrityError(
                f"{self._request.path}: {error.message}", hint="Fetch the file again.", advice=GIVE_UP
            ) from error
        for offset, pieces in place(state.runs, views, first):
            state.file.write(offset, pieces)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)


def _read_envelope(source: SourceFile, private_key: bytes) -> OpenedEnvelope:
    length = min(_PROBE, source.state.size)
    while True:
        data = bytearray(length)
        source.read_into(0, [memoryview(data)])
        if envelope_size(bytes(data)) is not None or length >= min(source.state.size, MAX_ENVELOPE_SIZE):
            return open_envelope(bytes(data), private_key)
        length = min(length * 16, source.state.size, MAX_ENVELOPE_SIZE)
