"""Key pairs as Crypt4GH uses them (X25519, 32 bytes each), and texts sealed to a public key.

The texts are libsodium sealed boxes (X25519, XSalsa20-Poly1305) in base64. Access tokens and work order tokens are
sealed like this, so that only the holder of the private key can use them.
"""

from __future__ import annotations

import base64
import binascii

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from connector.errors import RefusedError

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


def seal_text(text: str, public_key: bytes) -> str:
    """Seal `text` to the 32 byte X25519 `public_key`; returns base64."""
    return base64.b64encode(SealedBox(PublicKey(public_key)).encrypt(text.encode())).decode("ascii")


def open_text(sealed: str, private_key: bytes) -> str:
    """Open base64 `sealed` with the 32 byte X25519 `private_key`.

    Raises:
        RefusedError: If it is not base64 or was sealed to another key.
    """
    try:
        data = base64.b64decode(sealed, validate=True)
        return SealedBox(PrivateKey(private_key)).decrypt(data).decode()
    except (binascii.Error, ValueError, CryptoError) as error:
        raise RefusedError(
            "The token could not be opened with your private key.",
            hint="Use the key pair whose public key you registered with the archive, or ask for a new token.",
        ) from error
