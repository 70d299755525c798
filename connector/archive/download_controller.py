"""The download controller: DRS objects with presigned URLs, and Crypt4GH headers for their users."""

from __future__ import annotations

from pathlib import PurePosixPath

import attrs

from connector.archive.file_registry import FileRegistry, no_such_object
from connector.archive.hubs import Hubs
from connector.archive.key_store import KeyStore
from connector.archive.settings import ArchiveSettings
from connector.archive.staging import StagingArea, staging_wait
from connector.crypt4gh.keys import make_header
from connector.wire.payloads import AccessMethod, AccessUrl, Checksum, DrsObject
from persistence.errors import NotFound


@attrs.frozen(eq=False)
class DownloadController:
    """Gives access to registered files."""

    _registry: FileRegistry
    _key_store: KeyStore
    _staging: StagingArea
    _hubs: Hubs
    settings: ArchiveSettings

    async def get_object(self, accession: str, *, host: str) -> DrsObject | int:
        """Return the DRS object of a file; while it is being staged, the seconds that a client should wait for it.

        Args:
            accession: The file.
            host: The archive's host, for the DRS URI.

        Raises:
            NoSuchObject: The file is not registered.
            NoSuchStorage: Its hub is none of this archive's.
        """
        file = await self._registry.get(accession)
        hub = self._hubs.get(file.storage_alias)  # before it is waited for
        copy_id = await self._staging.find_copy(file)
        if copy_id is None:
            return self.settings.retry_after or staging_wait(file.encrypted_size)
        url = await hub.storage.presign_get(hub.buckets.download, copy_id, expires=self.settings.url_lifetime)
        return DrsObject(
            id=accession,
            self_uri=f"drs://{host}/{accession}",
            size=file.encrypted_size,
            name=PurePosixPath(file.alias).name or None,
            created_time=file.registered.isoformat(),
            checksums=(Checksum(file.decrypted_sha256, "sha-256"),),
            access_methods=(AccessMethod(AccessUrl(url), "s3"),),
        )

    async def make_header(self, accession: str, user_public_key: bytes) -> bytes:
        """Return the Crypt4GH header with which the owner of a public key (32 bytes) can decrypt the file.

        Raises:
            NoSuchObject: The file is not registered.
        """
        file = await self._registry.get(accession)
        try:
            secret = await self._key_store.fetch(file.secret_id)
        except NotFound as error:  # removed just now
            raise no_such_object(accession) from error
        hub_key = self._hubs.get(file.storage_alias).private_keys[0]
        return make_header(secret, sender_private_key=hub_key, recipient_public_keys=[user_public_key])
