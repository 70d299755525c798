"""Crypt4GH key files: reading them, and writing new ones.

Source: Crypt4GH key format as the `crypt4gh` package defines it. Its parsing functions are used, but not its
`get_private_key`, which prints and ends the process on a wrong passphrase.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Callable
from pathlib import Path

from crypt4gh.keys import c4gh, get_public_key, kdf, load_from_pem
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.crypt4gh.keys import KEY_SIZE, KeyPair
from connector.errors import FileExistsAlready, UsageError
from connector.local.failures import local_failures


def read_public_key(path: Path) -> bytes:
    """Read a public key (Crypt4GH, or OpenSSH ed25519): 32 bytes.

    Raises:
        LocalError: If the file cannot be read.
        UsageError: If it is no public key.
    """
    with local_failures("read the public key", path):
        head = path.read_bytes()[:64]
        if b"PRIVATE KEY" in head:
            raise UsageError(f"{path} is a private key.", hint="Give the public key here, and keep the other secret.")
        try:
            key = bytes(get_public_key(str(path)))
        except (ValueError, NotImplementedError, IndexError, AssertionError, TypeError) as error:
            raise _no_key(path, "public") from error
    if len(key) != KEY_SIZE:
        raise _no_key(path, "public")
    return key


def read_private_key(path: Path, passphrase: Callable[[], str]) -> bytes:
    """Read a Crypt4GH private key: 32 bytes. `passphrase` is only called if the key is protected by one.

    Raises:
        LocalError: If the file cannot be read.
        UsageError: If it is no Crypt4GH private key or the passphrase is wrong.
    """
    with local_failures("read the private key", path):
        try:
            stream = io.BytesIO(load_from_pem(str(path)))
            if stream.read(len(c4gh.MAGIC_WORD)) != c4gh.MAGIC_WORD:
                raise _no_key(path, "private")
            kdf_name = c4gh.decode_string(stream)
            options = c4gh.decode_string(stream) if kdf_name != b"none" else b""
            cipher = c4gh.decode_string(stream)
            data = c4gh.decode_string(stream)
        except (ValueError, binascii.Error) as error:
            raise _no_key(path, "private") from error
    if cipher == b"none":
        key = data
    elif cipher == b"chacha20_poly1305" and kdf_name in kdf.KDFS:
        rounds, salt = int.from_bytes(options[:4], "big"), options[4:]
        words = passphrase().encode("utf-8", "surrogateescape")
        try:
            secret = kdf.derive_key(kdf_name, words, salt, rounds)
        except (ValueError, OverflowError, MemoryError) as error:
            raise _no_key(path, "private") from error
        try:
            key = ChaCha20Poly1305(secret).decrypt(data[:12], data[12:], None)
        except (InvalidTag, ValueError) as error:
            raise UsageError(f"The passphrase for {path} is wrong.", hint="Try again with the right one.") from error
    else:
        raise _no_key(path, "private")
    if len(key) != KEY_SIZE:
        raise _no_key(path, "private")
    return bytes(key)


def write_key_pair(private_path: Path, public_path: Path, *, passphrase: str | None) -> KeyPair:
    """Create a key pair and write it; the private key is readable by its owner alone, and encrypted with a passphrase.

    Raises:
        FileExistsAlready: If either file exists: a lost private key is lost data.
    """
    pair = KeyPair.of(os.urandom(KEY_SIZE))
    if passphrase:
        body = c4gh.encode_private_key(pair.private, passphrase.encode(), None)
    else:
        none = c4gh.encode_string(None)
        body = c4gh.MAGIC_WORD + none + none + c4gh.encode_string(pair.private)
    for path in (private_path, public_path):
        if path.exists():
            raise FileExistsAlready(f"{path} exists already.", hint="Choose another name; keys are never overwritten.")
    _write(private_path, _pem("PRIVATE", body), 0o600)
    try:
        _write(public_path, _pem("PUBLIC", pair.public), 0o644)
    except BaseException:
        private_path.unlink(missing_ok=True)  # otherwise the next try would find a file of this name
        raise
    return pair


def _pem(kind: str, body: bytes) -> bytes:
    text = base64.b64encode(body).decode("ascii")
    return f"-----BEGIN CRYPT4GH {kind} KEY-----\n{text}\n-----END CRYPT4GH {kind} KEY-----\n".encode()


def _write(path: Path, data: bytes, mode: int) -> None:
    with local_failures("write", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _no_key(path: Path, kind: str) -> UsageError:
    return UsageError(
        f"{path} is no Crypt4GH {kind} key.", hint="Make a pair with: connector keygen --sk my.sec --pk my.pub"
    )
