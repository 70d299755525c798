"""Texts sealed to a public key: libsodium sealed boxes (X25519, XSalsa20-Poly1305), in base64.

Access tokens and work order tokens are sealed like this, so that only the holder of the private key can use them.
"""

from __future__ import annotations

import base64
import binascii

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from connector.errors import RefusedError


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
