"""Interrogation: decrypts a received file, verifies it, and encrypts it again under a secret of the archive."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import trio

from connector.adapters.object_parts import ObjectSink, ObjectSource, cut_short, storage_failures
from connector.archive.hubs import Hub
from connector.archive.models import FileUpload
from connector.crypt4gh.keys import MAX_HEADER_SIZE, OpenedHeader, WrongKeyError, header_size, open_header
from connector.crypt4gh.segments import (
    CIPHER_SEGMENT_SIZE,
    PartSealer,
    Plaintext,
    SealedLayout,
    SegmentDecryptor,
    fit_upload_part_size,
    sealed_size,
)
from connector.errors import NO_RETRY, IntegrityError
from connector.parts import Part, Parts, add_pieces
from connector.transfer import Progress, Sequencer
from persistence.threads import gil_yielder

T = TypeVar("T")

PART_SIZE = 8 * 1024**2
"""Bytes of a part of the permanent object, about: larger only for files that would otherwise have too many."""
_HEADER_GUESS = 1024
"""Bytes that hold the header of most files."""
_INLINE_SIZE = 2 * CIPHER_SEGMENT_SIZE
"""Bytes up to which a part is decrypted and encrypted without a thread, which would take longer to reach."""
_SECRET_SIZE = 32
_CLEANUP = 5.0
"""Seconds for removing what an unfinished interrogation has stored. A worker that is stopped gives its job back after
that, also where the storage does not answer; what is left then the next attempt removes."""


@attrs.define(eq=False)
class Interrogation:
    """The interrogation of one upload in `inbox`: a transfer from the inbox to the permanent bucket.

    Its outcome is the secret under which the file is encrypted now. It fails with an `IntegrityError` if the file is
    not valid. It writes one object and no document.

    Args:
        upload: The upload.
        hub: Where it is.
        object_id: The name of the object to write.
        threads: Bounds the threads that compute.
    """

    _upload: FileUpload
    _hub: Hub
    _object_id: str
    _threads: trio.CapacityLimiter
    _secret: bytes = attrs.field(factory=lambda: os.urandom(_SECRET_SIZE), init=False, repr=False)
    _digest: Any = attrs.field(factory=hashlib.sha256, init=False)
    _sequencer: Sequencer = attrs.field(factory=Sequencer, init=False)
    _sealer: PartSealer = attrs.field(init=False)
    _sink: ObjectSink = attrs.field(init=False)
    _decryptor: SegmentDecryptor = attrs.field(init=False)
    _source: ObjectSource = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Prepare the encryption."""
        self._sealer = PartSealer(
            SealedLayout(b"", self._upload.decrypted_size),
            session_key=self._secret,
            nonce_seed=os.urandom(_SECRET_SIZE),
            random_bytes=os.urandom,
        )
        self._sink = ObjectSink(self._hub.storage, self._hub.buckets.permanent, self._object_id)

    @property
    def label(self) -> str:
        """The upload's id."""
        return self._upload.id

    async def prepare(self) -> None:
        """Do nothing: an interrogation needs no permission."""

    async def open(self) -> Sequence[Part]:
        """Open the Crypt4GH header, compare the sizes, and plan the parts."""
        upload = self._upload
        head = await self._read_head(_HEADER_GUESS)
        if header_size(head) is None:
            head = await self._read_head(MAX_HEADER_SIZE)
        header = await self._open_header(head)
        if header.edit_list:
            raise IntegrityError("The envelope holds an edit list, which this archive does not take.")
        content_size = sealed_size(upload.decrypted_size)
        if header.size + content_size != upload.encrypted_size:
            raise IntegrityError(
                f"Envelope and content of {upload.decrypted_size} bytes make {header.size + content_size} bytes,"
                f" not {upload.encrypted_size}."
            )
        self._decryptor = SegmentDecryptor(header.session_keys)
        self._source = ObjectSource(self._hub.storage, self._hub.buckets.inbox, upload.id, offset=header.size)
        parts = Parts(content_size, fit_upload_part_size(content_size, PART_SIZE))
        await self._sink.open(parts)
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, decrypt, digest, encrypt and store one part, in its buffer throughout."""
        await self._source.read(part, buffer)
        plaintext = await self._compute(part, partial(self._open_part, part, buffer))
        if not self._sequencer.is_done(part.number):
            async with self._sequencer.in_order(part.number):
                await self._compute(part, partial(add_pieces, self._digest, plaintext))
        await self._compute(part, partial(self._seal_part, part, buffer, plaintext))
        await self._sink.write(part, buffer)
        progress(part.size)

    async def finish(self) -> bytes:
        """Compare the digests, and finish the object."""
        if self._digest.hexdigest() != self._upload.decrypted_sha256:
            raise IntegrityError("The decrypted content has another sha256 than stated when the upload was closed.")
        await self._sink.finish()
        return self._secret

    async def close(self) -> None:
        """Remove what an unfinished interrogation has stored."""
        with trio.move_on_after(_CLEANUP):
            await self._sink.abandon()

    async def _read_head(self, size: int) -> bytes:
        buffer = bytearray(min(size, self._upload.encrypted_size))
        with storage_failures():
            count = await self._hub.storage.read_into(self._hub.buckets.inbox, self._upload.id, 0, memoryview(buffer))
        if count < len(buffer):
            raise cut_short("The uploaded object", self._upload.encrypted_size, count)
        return bytes(buffer)

    async def _open_header(self, head: bytes) -> OpenedHeader:
        await self._hub.ring.follow()
        try:
            return open_header(head, *self._hub.private_keys)
        except IntegrityError:
            # The hub's key may have been rotated just now.
            with storage_failures():
                await self._hub.ring.refresh()
        try:
            return open_header(head, *self._hub.private_keys)
        except WrongKeyError as error:
            raise IntegrityError(
                f"The file is not encrypted for the public key of the data hub {self._hub.alias}."
            ) from error

    async def _compute(self, part: Part, work: Callable[[], T]) -> T:
        if part.size <= _INLINE_SIZE:
            return work()
        with gil_yielder():
            return await trio.to_thread.run_sync(work, limiter=self._threads)

    def _open_part(self, part: Part, buffer: memoryview) -> Plaintext:
        try:
            return self._decryptor.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError as error:
            # It is read from the archive's own storage: a second read gives the same.
            raise error.with_advice(NO_RETRY) from error.__cause__

    def _seal_part(self, part: Part, buffer: memoryview, plaintext: Plaintext) -> None:
        def move(_: int, views: Sequence[memoryview]) -> None:
            # Parts begin with a segment, as no header precedes them: all segments but the first are in place.
            views[0][:] = plaintext[0]

        self._sealer.read_plaintext(part, buffer, move).seal()
