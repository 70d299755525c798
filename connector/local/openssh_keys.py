"""Keys of OpenSSH (ed25519) as Crypt4GH keys, converted to X25519 as `crypt4gh` and libsodium do.

The key files are opened by `cryptography`. It knows the ciphers that OpenSSH has protected keys with by default; of
others that `ssh-keygen -Z` may have chosen, the file is opened here, and given to it without protection.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from crypt4gh.keys import kdf
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes, load_ssh_private_key, load_ssh_public_key
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

_BEGIN, _END = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"
_BLOCK = 16
_AES: dict[bytes, tuple[int, type[modes.CTR] | type[modes.CBC]]] = {
    b"aes128-ctr": (16, modes.CTR),
    b"aes192-ctr": (24, modes.CTR),
    b"aes128-cbc": (16, modes.CBC),
    b"aes192-cbc": (24, modes.CBC),
}
"""Bytes of the key, and the mode, of the ciphers that `crypt4gh` knows and `cryptography` does not."""


def open_openssh_private_key(content: bytes, passphrase: Callable[[], bytes]) -> bytes:
    """Open the ed25519 private key of a file and convert it: 32 bytes.

    Raises:
        InvalidTag: If the passphrase is wrong.
        ValueError: If it is no such key.
    """
    try:
        key = load_ssh_private_key(content, None)
    except TypeError:  # it is protected
        key = _load_protected(content, passphrase())
    except UnsupportedAlgorithm:
        key = _load_protected(_without_protection(content, passphrase), None)
    except NotImplementedError as error:  # a compressed point of another kind of key
        raise ValueError from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is of another kind")
    return bytes(SigningKey(key.private_bytes_raw()).to_curve25519_private_key())


def parse_openssh_public_key(line: bytes) -> bytes:
    """Convert the ed25519 public key of a line such as `ssh-ed25519 AAAA... me@here`: 32 bytes.

    Raises:
        ValueError: If it is no such key.
    """
    try:
        key = load_ssh_public_key(line)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("it is of another kind")
        return bytes(VerifyKey(key.public_bytes_raw()).to_curve25519_public_key())
    except (UnsupportedAlgorithm, CryptoError, RuntimeError) as error:  # NotImplementedError is of the last kind
        raise ValueError from error


def _load_protected(content: bytes, passphrase: bytes | None) -> SSHPrivateKeyTypes:
    try:
        return load_ssh_private_key(content, passphrase)
    except (TypeError, ValueError) as error:  # what a wrong key decrypts has no valid structure
        raise InvalidTag from error


def _without_protection(content: bytes, passphrase: Callable[[], bytes]) -> bytes:
    """The file as if it were not protected (PROTOCOL.key of OpenSSH). Its content is not checked."""
    body = content.partition(_BEGIN)[2].partition(_END)[0]
    stream = io.BytesIO(base64.b64decode(body).removeprefix(_MAGIC))
    cipher, function, options = (_read_string(stream) for _ in range(3))
    count, public, private = stream.read(4), _read_string(stream), _read_string(stream)
    if cipher not in _AES or function != b"bcrypt":
        raise ValueError("its kind, or the cipher that protects it, is not supported; ssh-keygen -p changes the cipher")
    key_size, mode = _AES[cipher]
    stream = io.BytesIO(options)
    salt, rounds = _read_string(stream), int.from_bytes(stream.read(4), "big")
    words = passphrase()
    if not words:
        raise InvalidTag
    derived = kdf.derive_key(function, words, salt, rounds, dklen=key_size + _BLOCK)
    decryptor = Cipher(algorithms.AES(derived[:key_size]), mode(derived[key_size:])).decryptor()
    private = decryptor.update(private) + decryptor.finalize()
    parts = _MAGIC, *map(_string, (b"none", b"none", b"")), count, _string(public), _string(private)
    return _BEGIN + b"\n" + base64.encodebytes(b"".join(parts)) + _END + b"\n"


def _read_string(stream: io.BytesIO) -> bytes:
    size = int.from_bytes(stream.read(4), "big")
    text = stream.read(size)
    if len(text) != size:
        raise ValueError
    return text


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text
