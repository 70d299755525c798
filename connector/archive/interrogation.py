"""Interrogation: opens a received file, checks it, and seals it anew under a secret of the archive's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio

from connector.adapters.failures import MissingObjectError, cut_short, storage_failures
from connector.adapters.object_parts import ObjectSink, ObjectSource
from connector.archive.boxes import BoxService
from connector.archive.file_registry import FileRegistry
from connector.archive.key_store import KeyStore
from connector.archive.models import REPLACEABLE, FileUpload, RegisteredFile
from connector.archive.removal import Removal
from connector.archive.settings import INBOX_BUCKET, PERMANENT_BUCKET
from connector.archive.upload_ledger import UploadLedger
from connector.crypt4gh.header import MAX_HEADER_SIZE, header_size, open_header
from connector.crypt4gh.layout import CIPHER_SEGMENT_SIZE, fit_upload_part_size, sealed_size
from connector.crypt4gh.segments import PartSealer, Plaintext, SealedLayout, SegmentDecryptor
from connector.errors import NO_RETRY, IntegrityError
from connector.parts import Part, Parts
from connector.transfer.steps import Sequencer
from connector.transfer.transfer import Progress
from connector.wire.digests import add_pieces
from persistence.errors import NotFound
from persistence.objects.protocol import ObjectStorage
from persistence.threads import gil_yielder

T = TypeVar("T")

PART_SIZE = 8 * 1024**2
"""Bytes of a part of the permanent object, about: larger only for files that would else have too many."""
_FIRST_LOOK = 1024
_AT_ONCE = 2 * CIPHER_SEGMENT_SIZE
"""Bytes that take less time to open or seal than a thread to be reached."""
_SECRET_SIZE = 32


class WithdrawnError(MissingObjectError):
    """The upload was cancelled or replaced while it was being interrogated. Nothing is wrong with it."""


class Ingest:
    """The last steps of an upload, after its content was found good. Each may be repeated after a crash.

    ``manual``: an interrogated upload takes them only when its box is archived.
    """

    def __init__(
        self,
        boxes: BoxService,
        ledger: UploadLedger,
        registry: FileRegistry,
        removal: Removal,
        storage: ObjectStorage,
        *,
        manual: bool,
    ) -> None:
        self.manual = manual
        self._boxes = boxes
        self._released: set[str] = set()
        self._ledger = ledger
        self._registry = registry
        self._removal = removal
        self._storage = storage

    async def take_in(self, upload: FileUpload) -> RegisteredFile | None:
        """Free the place in the inbox of an upload in ``interrogated`` or ``awaiting_archival``, and register it.

        ``None`` if it stays ``interrogated`` until a steward archives its box.
        Raises :class:`WithdrawnError` if it is cancelled or replaced meanwhile, and leaves nothing of it.
        """
        assert upload.secret_id is not None  # set together with the state
        with storage_failures():
            with suppress(NotFound):  # removed before a crash
                await self._storage.delete_object(INBOX_BUCKET, upload.id)
            if upload.state == "interrogated":
                if self.manual and (await self._boxes.get(upload.box_id)).state != "archived":
                    return None
                upload = await self._moved(upload, "awaiting_archival")
            file = await self._registry.register(upload, secret_id=upload.secret_id or "")
            await self._moved(upload, "archived", accession=file.accession)
        return file

    async def released(self) -> list[FileUpload]:
        """The interrogated uploads of the boxes that were archived since the last call, in another process."""
        uploads: list[FileUpload] = []
        boxes: set[str] = set()
        with storage_failures():
            async for box in self._boxes.find_all(state="archived"):
                if box.id not in self._released:
                    uploads += [one async for one in self._ledger.find_all(box_id=box.id, state="interrogated")]
                    boxes.add(box.id)
        self._released |= boxes
        return uploads

    async def _moved(self, upload: FileUpload, state: str, **changes: str) -> FileUpload:
        moved = await self._ledger.move(upload, state, **changes)  # type: ignore[arg-type]
        if moved is None:
            moved = await self._ledger.find(upload.id)
            if moved is None or moved.state in REPLACEABLE:
                # Whoever withdrew it cannot know what came into being since.
                await self._removal.free(upload)
                raise WithdrawnError("The upload was cancelled while it was being registered.")
        return moved


class Interrogation:
    """The interrogation of one upload in ``inbox``: a transfer from the inbox to the permanent bucket.

    Its outcome is the registered file, or ``None`` if a steward is to archive it. An
    :class:`~connector.errors.IntegrityError` says that the file is bad.
    """

    def __init__(
        self,
        upload: FileUpload,
        *,
        storage: ObjectStorage,
        ledger: UploadLedger,
        key_store: KeyStore,
        archivist: Ingest,
        hub_private_key: bytes,
        workers: trio.CapacityLimiter,
    ) -> None:
        self._upload = upload
        self._storage = storage
        self._ledger = ledger
        self._key_store = key_store
        self._archivist = archivist
        self._hub_private_key = hub_private_key
        self._workers = workers
        self._secret = os.urandom(_SECRET_SIZE)
        self._sealer = PartSealer(
            SealedLayout(b"", upload.decrypted_size),
            session_key=self._secret,
            nonce_seed=os.urandom(_SECRET_SIZE),
            random_bytes=os.urandom,
        )
        self._sink = ObjectSink(storage, PERMANENT_BUCKET, upload.id)
        self._digest = hashlib.sha256()
        self._turns = Sequencer()
        self._opener: SegmentDecryptor
        self._source: ObjectSource

    @property
    def label(self) -> str:
        """The upload's id."""
        return self._upload.id

    async def prepare(self) -> None:
        """Nobody has to let it in: nothing to do before."""

    async def open(self) -> Sequence[Part]:
        """Open the envelope, compare the sizes, and plan the parts."""
        upload = self._upload
        head = await self._read_envelope()
        envelope = open_header(head, self._hub_private_key)
        if envelope.edit_list is not None:
            raise IntegrityError("The envelope holds an edit list, which this archive does not take.")
        content_size = sealed_size(upload.decrypted_size)
        if envelope.size + content_size != upload.encrypted_size:
            raise IntegrityError(
                f"Envelope and content of {upload.decrypted_size} bytes make {envelope.size + content_size} bytes,"
                f" not {upload.encrypted_size}."
            )
        self._opener = SegmentDecryptor(envelope.session_keys)
        self._source = ObjectSource(self._storage, INBOX_BUCKET, upload.id, offset=envelope.size)
        parts = Parts(content_size, fit_upload_part_size(content_size, PART_SIZE))
        await self._sink.open(parts)
        return parts

    async def move(self, part: Part, buffer: memoryview, progress: Progress) -> None:
        """Read, open, digest, seal and store one part, in its buffer throughout."""
        await self._source.read(part, buffer)
        plaintext = await self._compute(part, partial(self._open_part, part, buffer))
        if not self._turns.is_done(part.number):
            async with self._turns.in_order(part.number):
                await self._compute(part, partial(add_pieces, self._digest, plaintext))
        await self._compute(part, partial(self._seal_part, part, buffer, plaintext))
        await self._sink.write(part, buffer)
        progress(part.size)

    async def finish(self) -> RegisteredFile | None:
        """Compare the digests, keep the secret, and let the archive take the file in."""
        upload = self._upload
        if self._digest.hexdigest() != upload.decrypted_sha256:
            raise IntegrityError("The decrypted content has another sha256 than stated when the upload was closed.")
        with storage_failures():
            await self._sink.finish()
            secret_id = await self._key_store.deposit(self._secret)
            moved = await self._ledger.move(upload, "interrogated", secret_id=secret_id)
            if moved is None:
                await self._key_store.forget(secret_id)
                with suppress(NotFound):
                    await self._storage.delete_object(PERMANENT_BUCKET, upload.id)
                raise WithdrawnError("The upload was cancelled while it was being interrogated.")
        return await self._archivist.take_in(moved)

    async def close(self) -> None:
        """Leave nothing half-made behind; what was finished stays."""
        await self._sink.abandon()

    async def _read_envelope(self) -> bytes:
        head = await self._read_head(_FIRST_LOOK)
        if header_size(head) is None:
            head = await self._read_head(MAX_HEADER_SIZE)
        return head

    async def _read_head(self, size: int) -> bytes:
        buffer = bytearray(min(size, self._upload.encrypted_size))
        with storage_failures():
            count = await self._storage.read_into(INBOX_BUCKET, self._upload.id, 0, memoryview(buffer))
        if count < len(buffer):
            raise cut_short("The uploaded object", self._upload.encrypted_size, count)
        return bytes(buffer)

    async def _compute(self, part: Part, work: Callable[[], T]) -> T:
        if part.size <= _AT_ONCE:
            return work()
        with gil_yielder():
            return await trio.to_thread.run_sync(work, limiter=self._workers)

    def _open_part(self, part: Part, buffer: memoryview) -> Plaintext:
        try:
            return self._opener.open_part(buffer, first_segment=part.start // CIPHER_SEGMENT_SIZE)
        except IntegrityError as error:
            # Read from our own disk, it will not become better.
            raise error.with_advice(NO_RETRY) from error.__cause__

    def _seal_part(self, part: Part, buffer: memoryview, plaintext: Plaintext) -> None:
        def move(_: int, views: Sequence[memoryview]) -> None:
            # Nothing stands before the segments, so that no border cuts one, and all but the first are in place.
            views[0][:] = plaintext[0]

        self._sealer.read_plaintext(part, buffer, move).seal()
