"""Encrypting and decrypting between pipes, whose size is not known and which have no positions.

The result leaves piece by piece, before the end of the source is known: each segment is authentic, but whether all are
there can only be told by the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import trio

from connector.crypt4gh.keys import MAX_LOCAL_HEADER_SIZE, header_size, make_header, open_header
from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    SEGMENT_SIZE,
    PartSealer,
    SealedLayout,
    sealed_size,
)
from connector.errors import NO_RETRY, IntegrityError
from connector.local.pipes import PIPE, PipeReader, PipeWriter
from connector.parts import Part
from connector.recrypt.request import RecryptedFile
from connector.recrypt.transformations import Content
from connector.transfer import GuardedObserver, Observer, Outcome, as_connector_error

_SEGMENTS = 64
"""Segments of a piece (4 MiB)."""
_PROBE = 4096
_LONGEST_PROBE = 1024**2
"""Bytes that are read at a time to find the end of the header; fewer than a piece has."""


def decrypt_pipe(source: PipeReader, target: PipeWriter, private_keys: Sequence[bytes]) -> Iterator[int]:
    """Decrypt `source` into `target`; yields the bytes read of each piece. Blocks.

    Raises:
        IntegrityError: If the header cannot be opened or a segment is damaged or cut off. All before it is written.
        LocalError: If one of the pipes fails.
    """
    data = _read_header(source)
    header = open_header(bytes(data), *private_keys, limit=MAX_LOCAL_HEADER_SIZE)
    content = Content.below(header)
    buffer = memoryview(bytearray(_SEGMENTS * CIPHER_SEGMENT_SIZE))
    filled = len(data) - header.size
    buffer[:filled] = memoryview(data)[header.size :]
    first_segment, read = 0, header.size
    while True:
        filled += source.fill(buffer[filled:])
        try:
            for _, kept in content.decrypt(buffer[:filled], first_segment):
                target.write(kept)
        except IntegrityError as error:
            hint = "Fetch the file again. What was written before is authentic, but not all."
            raise IntegrityError(error.message, hint=hint, advice=NO_RETRY) from error
        yield read + filled
        if filled < len(buffer):
            break
        first_segment += _SEGMENTS
        filled = read = 0


def encrypt_pipe(
    source: PipeReader,
    target: PipeWriter,
    private_key: bytes,
    recipients: Sequence[bytes],
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Iterator[int]:
    """Encrypt `source` into `target` with a new session key; yields the bytes read of each piece. Blocks.

    Raises:
        UsageError: If a key is not valid.
        LocalError: If one of the pipes fails.
    """
    session_key, nonce_seed = random_bytes(32), random_bytes(32)
    target.write([make_header(session_key, sender_private_key=private_key, recipient_public_keys=recipients)])
    plain = memoryview(bytearray(_SEGMENTS * SEGMENT_SIZE))
    buffer = memoryview(bytearray(_SEGMENTS * CIPHER_SEGMENT_SIZE))

    def take(offset: int, views: Sequence[memoryview]) -> None:
        for view in views:
            view[:] = plain[offset : offset + len(view)]
            offset += len(view)

    while filled := source.fill(plain):
        part = Part(1, 0, sealed_size(filled))
        # Whole segments only, so that no nonce is derived from the seed.
        layout = SealedLayout(b"", filled)
        sealer = PartSealer(layout, session_key=session_key, nonce_seed=nonce_seed, random_bytes=random_bytes)
        target.write([sealer.read_plaintext(part, buffer[: part.size], take).seal()])
        yield filled
        if filled < len(plain):
            break


async def move_all(
    pieces: Iterator[int], target: PipeWriter, *, size: int | None, observer: Observer
) -> Outcome[RecryptedFile]:
    """Run one of these to its end, with `target`; `size`: the bytes to be read, if that is known."""
    observer = GuardedObserver.of(observer)
    label = str(PIPE)
    observer.planned([(label, size)])
    observer.opened(label, size)
    try:
        # Abandoned when cancelled, since a pipe that another program neither fills nor empties blocks for ever.
        while (count := await trio.to_thread.run_sync(next, pieces, None, abandon_on_cancel=True)) is not None:
            observer.progressed(label, count)
        outcome = Outcome(label, value=RecryptedFile(PIPE, PIPE, target.written))
    except Exception as error:
        outcome = Outcome(label, error=as_connector_error(error))
    outcome = observer.checked(outcome)
    observer.finished(outcome)
    return observer.checked(outcome)


def _read_header(source: PipeReader) -> bytearray:
    """Read until the header is complete or the source ends; more than the header may have been read."""
    data = bytearray()
    probe = _PROBE
    while header_size(data, limit=MAX_LOCAL_HEADER_SIZE) is None:
        piece = bytearray(probe)
        count = source.fill(memoryview(piece))
        data += memoryview(piece)[:count]
        if count < probe:
            break
        probe = min(2 * probe, _LONGEST_PROBE)
    return data
