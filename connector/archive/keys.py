"""The archive's secrets: created on its first start, in files that only its owner may read."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import attrs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from connector.errors import LocalError

_SECRET_SIZE = 32
_OLD = 3600.0
"""Seconds after which a draft of a key belongs to no running process."""


@attrs.frozen
class ArchiveKeys:
    """All secrets of one archive.

    Attributes:
        hub_private: The data hub's Crypt4GH private key (32 bytes).
        hub_public: The public key to it.
        signing: The ES256 key of the work order tokens.
        url_secret: Signs presigned URLs.
        store_key: Encrypts the file secrets of the key store.
    """

    hub_private: bytes = attrs.field(repr=False)
    hub_public: bytes
    signing: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    url_secret: bytes = attrs.field(repr=False)
    store_key: bytes = attrs.field(repr=False)


def load_keys(directory: Path) -> ArchiveKeys:
    """Read the archive's secrets from `directory`, and create those that are missing. Blocks on the disk.

    Raises:
        LocalError: They cannot be read or written, or are not valid.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        hub_private = _read_or_make(directory / "hub.key", os.urandom(_SECRET_SIZE))
        signing_pem = _read_or_make(directory / "signing.pem", _new_signing_key())
        url_secret = _read_or_make(directory / "url.key", os.urandom(_SECRET_SIZE))
        store_key = _read_or_make(directory / "store.key", os.urandom(_SECRET_SIZE))
        signing = serialization.load_pem_private_key(signing_pem, password=None)
        if {len(hub_private), len(url_secret), len(store_key)} != {_SECRET_SIZE}:
            raise ValueError("a key has not 32 bytes")
        if not isinstance(signing, ec.EllipticCurvePrivateKey):
            raise TypeError("the signing key is not an elliptic curve key")
    except (OSError, ValueError, TypeError) as error:
        raise LocalError(
            f"The archive's keys in {directory} cannot be used: {error}.",
            hint="Check the directory's owner and permissions; files written under lost keys cannot be read again.",
        ) from error
    hub_public = X25519PrivateKey.from_private_bytes(hub_private).public_key().public_bytes_raw()
    return ArchiveKeys(
        hub_private=hub_private, hub_public=hub_public, signing=signing, url_secret=url_secret, store_key=store_key
    )


def remove_drafts(directory: Path) -> None:
    """Remove drafts of keys that a killed process has left. Blocks on the disk."""
    for draft in directory.glob(".*.*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > _OLD:
                draft.unlink()


def _new_signing_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_or_make(path: Path, content: bytes) -> bytes:
    """Read `path`; if it does not exist, create it with `content`, in one process only.

    The server and an administration command may start at the same time, so the complete file is linked to its name,
    which never replaces another one.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return path.read_bytes()
        return content
    finally:
        draft.unlink(missing_ok=True)
