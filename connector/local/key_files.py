"""Key files: reading Crypt4GH's and OpenSSH's (ed25519), and writing new ones.

Source: Crypt4GH key format as the `crypt4gh` package defines it. Its parsing functions are used, but not its
`get_private_key`, which prints and ends the process on a wrong passphrase.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path

from crypt4gh.keys import c4gh, kdf
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connector.crypt4gh.keys import KEY_SIZE, KeyPair
from connector.errors import FileExistsAlready, UsageError
from connector.local.disk import local_failures, read_small_file


def read_public_key(path: Path) -> bytes:
    """Read a public key (Crypt4GH, or OpenSSH ed25519): 32 bytes.

    Raises:
        LocalError: If the file cannot be read.
        UsageError: If it is no public key.
    """
    lines = _lines(read_small_file(path, "public key"))
    if b"PRIVATE KEY" in lines[0]:
        raise UsageError(f"{path} is a private key.", hint="Give the public key here, and keep the other secret.")
    try:
        if lines[0].startswith(b"ssh-"):
            from connector.local.openssh_keys import parse_openssh_public_key  # which loads much more than others need

            return parse_openssh_public_key(lines[0])
        key = base64.b64decode(b"".join(lines[1:-1])) if b"CRYPT4GH" in lines[0] else b""
    except ValueError as error:
        raise _no_key(path, "public") from error
    if len(key) != KEY_SIZE:
        raise _no_key(path, "public")
    return key


def read_private_key(path: Path, passphrase: Callable[[], str]) -> bytes:
    """Read a private key (Crypt4GH, or OpenSSH ed25519): 32 bytes.

    `passphrase` is only called if the key is protected by one.

    Raises:
        LocalError: If the file cannot be read.
        UsageError: If it is no private key or the passphrase is wrong.
    """
    content = read_small_file(path, "private key")
    words = ""

    def encoded() -> bytes:
        nonlocal words
        words = passphrase()
        return _encoded(words)

    try:
        if b"BEGIN OPENSSH PRIVATE KEY" in content:
            from connector.local.openssh_keys import open_openssh_private_key

            return open_openssh_private_key(content, encoded)
        key = _open_crypt4gh_key(content, encoded)
    except InvalidTag as error:
        hint = "Try again with the right one."
        if words != words.strip():
            hint = "It begins or ends with white space, maybe a line break: try again without."
        raise UsageError(f"The passphrase for {path} is wrong.", hint=hint) from error
    except ValueError as error:
        raise _no_key(path, "private", str(error)) from error
    if len(key) != KEY_SIZE:
        raise _no_key(path, "private")
    return key


def _open_crypt4gh_key(content: bytes, passphrase: Callable[[], bytes]) -> bytes:
    """Open a Crypt4GH private key; raises `ValueError`, and `InvalidTag` for a wrong passphrase."""
    lines = _lines(content)
    if not (lines[0].startswith(b"-----BEGIN ") and lines[-1].startswith(b"-----END ")):
        raise ValueError
    stream = io.BytesIO(base64.b64decode(b"".join(lines[1:-1])))
    if stream.read(len(c4gh.MAGIC_WORD)) != c4gh.MAGIC_WORD:
        raise ValueError
    kdf_name = c4gh.decode_string(stream)
    options = c4gh.decode_string(stream) if kdf_name != b"none" else b""
    cipher = c4gh.decode_string(stream)
    data = bytes(c4gh.decode_string(stream))
    if cipher == b"none":
        return data
    if cipher != b"chacha20_poly1305" or kdf_name not in kdf.KDFS:
        raise ValueError
    words = passphrase()
    try:
        secret = kdf.derive_key(kdf_name, words, options[4:], int.from_bytes(options[:4], "big"))
    except (OverflowError, MemoryError) as error:
        raise ValueError from error
    return ChaCha20Poly1305(secret).decrypt(data[:12], data[12:], None)


def _lines(content: bytes) -> list[bytes]:
    return [line for line in map(bytes.strip, content.splitlines()) if line] or [b""]


def _encoded(passphrase: str) -> bytes:
    return passphrase.encode("utf-8", "surrogateescape")


def write_key_pair(private_path: Path, public_path: Path, *, passphrase: str | None) -> KeyPair:
    """Create a key pair and write it; the private key is readable by its owner alone, and encrypted with a passphrase.

    Raises:
        FileExistsAlready: If either file exists: a lost private key is lost data.
    """
    pair = KeyPair.of(os.urandom(KEY_SIZE))
    if passphrase:
        body = c4gh.encode_private_key(pair.private, _encoded(passphrase), None)
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


def _no_key(path: Path, kind: str, why: str = "") -> UsageError:
    return UsageError(
        f"{path} is no Crypt4GH {kind} key, nor one of OpenSSH for ed25519{why and ': '}{why}.",
        hint="Make a pair with: connector keygen --sk my.sec --pk my.pub",
    )
