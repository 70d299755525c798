"""Objects of a storage as source and target of a transfer, and the errors of `persistence` as those of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from connector.errors import NO_RETRY, RETRY, BrokenError, ConnectorError, IntegrityError, LocalError
from connector.parts import Part
from persistence.errors import NotFound, PersistenceError, StorageFull, Unavailable
from persistence.objects.protocol import ObjectStorage
from persistence.objects.values import ObjectStat


class MissingObjectError(LocalError):
    """The storage does not hold the object or upload (any more)."""


def as_connector_error(error: PersistenceError) -> ConnectorError:
    """The same error in the engine's families, with advice for its retry loop."""
    if isinstance(error, NotFound):
        return MissingObjectError(error.message, hint=error.hint)
    if isinstance(error, StorageFull):
        return LocalError(error.message, hint=error.hint)
    return BrokenError(error.message, hint=error.hint, advice=RETRY if isinstance(error, Unavailable) else NO_RETRY)


@contextmanager
def storage_failures() -> Iterator[None]:
    """Translate errors of `persistence` that the block raises into a `ConnectorError`."""
    try:
        yield
    except PersistenceError as error:
        raise as_connector_error(error) from error


def cut_short(what: str, expected: int, found: int) -> IntegrityError:
    """The error for an object that ends too early."""
    return IntegrityError(f"{what} ends after {found} bytes where {expected} were expected.")


class ObjectSource:
    """Reads parts of one object. Part ranges start at `offset`, the size of what precedes the content."""

    def __init__(self, storage: ObjectStorage, bucket: str, object_id: str, *, offset: int = 0) -> None:
        self._storage = storage
        self._bucket = bucket
        self._object_id = object_id
        self._offset = offset

    async def read(self, part: Part, buffer: memoryview) -> None:
        """Fill `buffer` with a part; `IntegrityError` if the object is too short."""
        with storage_failures():
            start = self._offset + part.start
            count = await self._storage.read_into(self._bucket, self._object_id, start, buffer)
        if count < part.size:
            raise cut_short(f"The object {self._object_id!r}", self._offset + part.stop, start + count)


class ObjectSink:
    """Writes the parts of one object, in any order; the object appears atomically when it is finished.

    An object of a single part is written in one call, without a multipart upload.
    """

    def __init__(self, storage: ObjectStorage, bucket: str, object_id: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._object_id = object_id
        self._parts: Sequence[Part] = ()
        self._upload_id: str | None = None
        self._stored: ObjectStat | None = None
        self._may_exist = False

    async def open(self, parts: Sequence[Part]) -> None:
        """Prepare to write these parts."""
        self._parts = parts
        if len(parts) > 1:
            with storage_failures():
                self._upload_id = await self._storage.start_upload(self._bucket, self._object_id)

    async def write(self, part: Part, data: memoryview) -> None:
        """Store one part; a second call replaces it."""
        with storage_failures():
            if self._upload_id is None:
                self._may_exist = True
                self._stored = await self._storage.put_object(self._bucket, self._object_id, data)
            else:
                await self._storage.put_part(self._bucket, self._object_id, self._upload_id, part.number, data)

    async def finish(self) -> ObjectStat:
        """Assemble the object from its parts."""
        if self._upload_id is not None:
            self._may_exist = True
            with storage_failures():
                self._stored = await self._storage.complete_upload(
                    self._bucket, self._object_id, self._upload_id, expected_parts=len(self._parts)
                )
        finished, self._upload_id, self._stored, self._may_exist = self._stored, None, None, False
        assert finished is not None  # write was called for the one part
        return finished

    async def abandon(self) -> None:
        """Delete what an unfinished transfer has stored so far. Never raises: it is called after failures."""
        with suppress(PersistenceError):
            if self._upload_id is not None:
                with suppress(NotFound):
                    await self._storage.abort_upload(self._bucket, self._object_id, self._upload_id)
            # Without a response, too, a call may have made the object.
            if self._may_exist:
                await self._storage.delete_object(self._bucket, self._object_id)
        self._upload_id, self._stored, self._may_exist = None, None, False
