"""Key pairs as Crypt4GH uses them: X25519, 32 bytes each."""

from __future__ import annotations

import base64

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

KEY_SIZE = 32


@attrs.frozen
class KeyPair:
    """An X25519 key pair, 32 bytes each."""

    private: bytes = attrs.field(repr=False)
    public: bytes

    @property
    def public_base64(self) -> str:
        """The public key in base64, as in tokens and well-known values."""
        return base64.b64encode(self.public).decode("ascii")

    @classmethod
    def of(cls, private: bytes) -> KeyPair:
        """The pair that belongs to a private key."""
        return cls(private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())
