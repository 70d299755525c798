"""The data hubs of an archive: object storages with their buckets and Crypt4GH keys, each under its storage alias."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import attrs

from connector.archive.config import HubBuckets
from connector.archive.errors import NoSuchStorage
from connector.archive.key_ring import KeyRing
from connector.archive.models import FileUpload, RegisteredFile
from connector.crypt4gh.keys import KeyPair
from persistence.errors import AlreadyExists, NotFound
from persistence.objects.protocol import ObjectStorage


@attrs.frozen(eq=False, kw_only=True)
class Hub:
    """One data hub.

    Attributes:
        alias: The storage alias by which boxes, uploads and registered files refer to the hub.
        label: Its name for people.
        ring: Holds its Crypt4GH keys, which may be rotated while the archive is served.
        storage: Holds all its objects.
        buckets: Their names.
    """

    alias: str
    label: str = ""
    ring: KeyRing
    storage: ObjectStorage
    buckets: HubBuckets = attrs.field(factory=HubBuckets)

    @property
    def private_keys(self) -> list[bytes]:
        """Its Crypt4GH private keys (32 bytes each), the current one first, as they were read last."""
        return [key.secret for key in self.ring.keys("hub", self.alias)]

    @property
    def public_key(self) -> bytes:
        """The public key of the current one."""
        return KeyPair.of(self.ring.current("hub", self.alias).secret).public

    async def create_buckets(self) -> None:
        """Create those of its buckets that are missing."""
        for bucket in self.buckets.names:
            if not await self.storage.bucket_exists(bucket):
                with suppress(AlreadyExists):  # another process of this archive was faster
                    await self.storage.create_bucket(bucket)

    async def free(self, upload: FileUpload, file: RegisteredFile | None) -> None:
        """Delete all that it stores of an upload, and of the file that became of it."""
        with suppress(NotFound):
            await self.storage.abort_upload(self.buckets.inbox, upload.id, upload.upload_id)
        objects = {
            self.buckets.inbox: upload.id,
            self.buckets.permanent: upload.object_id,
            self.buckets.download: None if file is None else file.staged_id,
        }
        for bucket, object_id in objects.items():
            if object_id is not None:
                with suppress(NotFound):
                    await self.storage.delete_object(bucket, object_id)


class Hubs:
    """All hubs of an archive, of which it has at least one."""

    def __init__(self, hubs: Iterable[Hub]) -> None:
        self._hubs = {hub.alias: hub for hub in hubs}

    def __iter__(self) -> Iterator[Hub]:
        return iter(self._hubs.values())

    def __contains__(self, alias: str) -> bool:
        return alias in self._hubs

    @property
    def default(self) -> Hub:
        """The first hub: that of boxes for which none is chosen."""
        return next(iter(self))

    def get(self, alias: str) -> Hub:
        """Return the hub with this storage alias.

        Raises:
            NoSuchStorage: The archive has none.
        """
        try:
            return self._hubs[alias]
        except KeyError as error:
            raise NoSuchStorage(f"This archive does not serve the storage {alias!r}.", storage_alias=alias) from error
