"""The key store: file secrets, each sealed under a master key, which is outside the database."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import attrs

from connector.archive.key_ring import KeyRing
from connector.archive.models import StoredSecret
from persistence.documents import Dao
from persistence.errors import NotFound


@attrs.frozen(eq=False)
class KeyStore:
    """Stores the session keys under which the permanent objects are encrypted (32 bytes each)."""

    _secrets: Dao[StoredSecret]
    _ring: KeyRing

    async def seal(self, secret: bytes, secret_id: str) -> StoredSecret:
        """Seal a secret under the current master key, to be stored by the caller, in a transaction of its own.

        The secret of a file has the name of its object, so that both are found by the id of the file.
        """
        await self._ring.refresh()
        master = self._ring.master
        return StoredSecret(secret_id, master.id, master.seal(secret, secret_id))

    async def deposit(self, secret: bytes) -> str:
        """Store a secret; returns its id."""
        return (await self._secrets.insert(await self.seal(secret, str(uuid4())))).id

    async def fetch(self, secret_id: str) -> bytes:
        """Return a secret.

        Raises:
            NotFound: There is none with this id.
            IntegrityError: It was tampered with.
            MissingMasterKeyError: This process does not have its master key.
        """
        stored = await self._secrets.get_by_id(secret_id)
        return (await self._ring.find_master(stored.key_id)).open(stored.sealed, secret_id)

    async def reseal(self) -> int:
        """Seal all secrets under the current master key; returns how many were not."""
        await self._ring.refresh()
        master, count = self._ring.master, 0
        async for stored in self._secrets.find_all({"key_id": {"$ne": master.id}}, sort=["id"]):
            secret = (await self._ring.find_master(stored.key_id)).open(stored.sealed, stored.id)
            changes = {"key_id": master.id, "sealed": master.seal(secret, stored.id)}
            with suppress(NotFound):  # removed meanwhile, with its file
                changed = await self._secrets.compare_and_set(
                    stored.id, expected={"key_id": stored.key_id}, changes=changes
                )
                count += changed is not None
        return count

    async def count_sealed_under(self, master_id: str) -> int:
        """How many secrets are sealed under a master key."""
        return await self._secrets.count({"key_id": master_id})
