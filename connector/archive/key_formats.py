"""How keys are written in files and in the environment."""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import os
import stat
import sys
from pathlib import Path

from crypt4gh.keys import c4gh

from connector.archive.sealing import KEY_SIZE
from connector.errors import LocalError, UsageError

_BEGIN, _END = b"-----BEGIN CRYPT4GH PRIVATE KEY-----", b"-----END CRYPT4GH PRIVATE KEY-----"
_OTHERS = 0o077
_LONGEST = 1 << 16
"""Bytes of a file with a secret."""


def read_secret(path: Path, *, platform: str = sys.platform) -> bytes:
    """Read a file with a secret. Blocks on the disk. Windows has no permission bits that tell who may read it.

    Raises:
        LocalError: It cannot be read, or others than its owner may read it, or it is a pipe, a device or a folder:
            a process of the archive reads it again whenever keys have changed, and waits for nothing.
        UsageError: It is too large for a secret.
    """
    try:
        # The opener does not wait until a pipe has a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise LocalError(f"{path} is not a regular file, so it holds no secret.", hint="Write the secret into a file.")
    if len(content) > _LONGEST:
        raise UsageError(f"{path} has more than {_LONGEST} bytes, so it holds no secret.")
    if platform != "win32" and mode & _OTHERS:
        raise LocalError(f"Others may read the secret in {path}.", hint=f"Run chmod 600 {path}.")
    return content.removeprefix(codecs.BOM_UTF8)


def parse_key(content: bytes) -> bytes:
    """Read a key of 32 bytes: the bytes themselves, or their base64. Raises `ValueError` for anything else."""
    key = content if len(content) == KEY_SIZE else base64.b64decode(content.strip(), validate=True)
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    return key


def parse_private_key(content: bytes) -> bytes:
    """Read a hub's private key: a Crypt4GH key file without a passphrase, or what `parse_key` reads.

    Raises:
        UsageError: It is something else, or has a passphrase, which no server could ask for.
    """
    try:
        if not content.strip().startswith(_BEGIN):
            return parse_key(content)
        body = base64.b64decode(content.partition(_BEGIN)[2].partition(_END)[0], validate=False)
        stream = io.BytesIO(body)
        if stream.read(len(c4gh.MAGIC_WORD)) != c4gh.MAGIC_WORD:
            raise ValueError("no Crypt4GH key")
        kdf, cipher = c4gh.decode_string(stream), c4gh.decode_string(stream)
        if (kdf, cipher) != (b"none", b"none"):
            raise UsageError(
                "The private key of a hub has a passphrase.",
                hint="Give one without, in a file that only the archive may read.",
            )
        return parse_key(c4gh.decode_string(stream))
    except (ValueError, binascii.Error) as error:
        raise UsageError("The private key of a hub is no Crypt4GH private key.") from error
