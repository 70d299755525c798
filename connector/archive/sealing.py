"""Sealing of secrets that are stored in the database: ChaCha20-Poly1305 under a master key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.errors import IntegrityError

KEY_SIZE = 32
_NONCE_SIZE = 12
_ID_DIGITS = 16


def fingerprint(kind: str, key: bytes) -> str:
    """The id of a key: digits of the sha256 of its kind and its bytes (random or public ones, so nothing leaks)."""
    return hashlib.sha256(kind.encode() + b":" + key).hexdigest()[:_ID_DIGITS]


@attrs.frozen
class MasterKey:
    """A key (32 bytes) under which secrets are sealed."""

    key: bytes = attrs.field(repr=False)

    @property
    def id(self) -> str:
        """Made of the key, so that neither file names nor an order tell keys apart."""
        return fingerprint("master", self.key)

    def seal(self, secret: bytes, owner: str) -> str:
        """Seal a secret; returns base64 of nonce and ciphertext.

        Args:
            secret: Any bytes.
            owner: What the secret belongs to; it is authenticated, so that exchanging two sealed secrets is detected.
        """
        nonce = os.urandom(_NONCE_SIZE)
        return base64.b64encode(nonce + ChaCha20Poly1305(self.key).encrypt(nonce, secret, owner.encode())).decode()

    def open(self, sealed: str, owner: str) -> bytes:
        """Return a sealed secret.

        Raises:
            IntegrityError: It was damaged, exchanged, or sealed under another key.
        """
        try:
            data = base64.b64decode(sealed, validate=True)
            return ChaCha20Poly1305(self.key).decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], owner.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise IntegrityError(
                f"The secret of {owner} in the database is damaged, or sealed under another master key than {self.id}.",
                hint="Restore the database, or the master key that was used with it.",
            ) from error
