"""The key store: file secrets, each encrypted under the archive's own key, which is stored outside the database."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.archive.models import StoredSecret
from persistence.documents.protocol import Dao
from persistence.errors import NotFound

_NONCE_SIZE = 12


class KeyStore:
    """Stores the session keys under which the permanent objects are encrypted (32 bytes each)."""

    def __init__(self, secrets: Dao[StoredSecret], *, store_key: bytes) -> None:
        self._secrets = secrets
        self._cipher = ChaCha20Poly1305(store_key)

    async def deposit(self, secret: bytes) -> str:
        """Store a secret; returns its id."""
        secret_id = str(uuid4())
        nonce = os.urandom(_NONCE_SIZE)
        # The id is authenticated too, so that swapping the secrets of two files in the database is detected.
        sealed = nonce + self._cipher.encrypt(nonce, secret, secret_id.encode())
        await self._secrets.insert(StoredSecret(secret_id, base64.b64encode(sealed).decode("ascii")))
        return secret_id

    async def fetch(self, secret_id: str) -> bytes:
        """Return a secret.

        Raises:
            NotFound: There is none with this id.
            InvalidTag: It was tampered with.
        """
        stored = await self._secrets.get_by_id(secret_id)
        sealed = base64.b64decode(stored.sealed)
        return self._cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], secret_id.encode())

    async def ids(self) -> AsyncIterator[str]:
        """The ids of all secrets."""
        async for stored in self._secrets.find_all():
            yield stored.id

    async def forget(self, secret_id: str) -> None:
        """Remove a secret; it is no error if there is none."""
        with suppress(NotFound):
            await self._secrets.delete(secret_id)
