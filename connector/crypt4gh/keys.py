"""Key pairs as Crypt4GH uses them (X25519), and what is encrypted for a public key: headers of files, and texts.

Source of the header: Crypt4GH specification, sections 3.2 ("Header") and 3.3 ("Header packet encryption"): X25519 (the
key exchange of libsodium, its writer as the server, its reader as the client) and ChaCha20-IETF-Poly1305. Packets for
other readers are ignored, and what follows the data of a packet is padding. A header is untrusted input, so its sizes
are checked before they are used. The `crypt4gh` package could decrypt one too, but writes private keys to its debug log
and every packet that is for another reader to standard error.

The texts are libsodium sealed boxes (X25519, XSalsa20-Poly1305) in base64. Access tokens and work order tokens are
sealed like this, so that only the holder of the private key can use them.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterator, Sequence

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_kx_client_session_keys, crypto_kx_server_session_keys, crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.utils import random as nacl_random

from connector.crypt4gh.segments import NONCE_SIZE, TAG_SIZE
from connector.errors import IntegrityError, RefusedError, UsageError

KEY_SIZE = 32
MAGIC = b"crypt4gh"
VERSION = 1
MAX_HEADER_SIZE = 1024**2
"""Upper bound in bytes for a header from elsewhere: over 9,000 recipients. The specification has none."""
MAX_LOCAL_HEADER_SIZE = 64 * 1024**2
"""Upper bound in bytes for the header of a file on this machine: an edit list of 4 million ranges."""
_PREFIX = struct.Struct("<8sII")
_LENGTH = struct.Struct("<I")
_X25519 = bytes(4)
_CONTENT_START = len(_X25519) + KEY_SIZE + NONCE_SIZE
_DATA_KEY = (0).to_bytes(4, "little")
_EDIT_LIST = (1).to_bytes(4, "little")
_CHACHA20_POLY1305 = bytes(4)


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


@attrs.frozen
class OpenedHeader:
    """The content of a header for one reader.

    Attributes:
        size: Bytes of the header.
        session_keys: The data keys, 32 bytes each.
        edit_list: Lengths that are alternately discarded and kept, none if all of the plaintext is kept.
    """

    size: int
    session_keys: tuple[bytes, ...] = attrs.field(repr=False)
    edit_list: tuple[int, ...] = ()


def is_crypt4gh(prefix: bytes) -> bool:
    """Whether a file that begins with these bytes is a Crypt4GH file."""
    return prefix[:8] == MAGIC


def header_size(data: bytes | bytearray, *, limit: int = MAX_HEADER_SIZE) -> int | None:
    """Bytes of the header at the start of `data`, or `None` if `data` is too short to tell.

    Raises:
        IntegrityError: If this is no valid header or larger than `limit` bytes.
    """
    if len(data) < _PREFIX.size:
        if not MAGIC.startswith(bytes(data[:8])):
            raise _invalid_header("it does not begin with the Crypt4GH magic number")
        return None
    magic, version, packets = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise _invalid_header("it does not begin with the Crypt4GH magic number")
    if version != VERSION:
        raise _invalid_header(f"its version is {version}, and only version 1 is supported")
    position = _PREFIX.size
    if packets == 0 or position + packets * _LENGTH.size > limit:
        raise _invalid_header(f"it claims {packets} packets")
    for _ in range(packets):
        if len(data) < position + _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data, position)
        if length < _LENGTH.size or position + length > limit:
            raise _invalid_header(f"a packet of it claims {length} bytes")
        position += length
    return position if len(data) >= position else None


def make_header(
    session_key: bytes,
    *,
    sender_private_key: bytes,
    recipient_public_keys: Sequence[bytes],
    random_bytes: Callable[[int], bytes] = nacl_random,
) -> bytes:
    """Encode a header that holds `session_key` for each of the recipients (124 bytes for one recipient).

    `random_bytes` generates the nonces.

    Raises:
        UsageError: If there are no recipients or a key is not a valid X25519 key.
    """
    if not recipient_public_keys:
        raise UsageError("A Crypt4GH header needs at least one recipient.", hint="Name a public key to encrypt for.")
    packet = _DATA_KEY + _CHACHA20_POLY1305 + session_key
    encrypted = [
        _encrypt_packet(packet, sender_private_key, key, random_bytes(NONCE_SIZE)) for key in recipient_public_keys
    ]
    body = b"".join(_LENGTH.pack(_LENGTH.size + len(packet)) + packet for packet in encrypted)
    return _PREFIX.pack(MAGIC, VERSION, len(encrypted)) + body


class WrongKeyError(IntegrityError):
    """A Crypt4GH header is encrypted for other keys than those that are there."""


def open_header(data: bytes, *private_keys: bytes, limit: int = MAX_HEADER_SIZE) -> OpenedHeader:
    """Decrypt the header at the start of `data` with a reader's private keys (32 bytes each), of which one may do.

    Raises:
        IntegrityError: If it is malformed, truncated, or larger than `limit` bytes.
        WrongKeyError: If it is encrypted for different keys.
    """
    size = header_size(data, limit=limit)
    if size is None:
        raise _invalid_header("it ends too early")
    readers = [_Reader(key) for key in private_keys]
    keys: list[bytes] = []
    edit_list: tuple[int, ...] | None = None
    readable = False
    for encrypted in _packets(bytes(data[:size])):
        opened = (reader.decrypt(encrypted) for reader in readers)
        packet = next((packet for packet in opened if packet is not None), None)
        if packet is None:
            continue
        readable = True
        kind, content = packet[:4], packet[4:]
        if kind == _DATA_KEY:
            keys.append(_data_key(content))
        elif kind == _EDIT_LIST and edit_list is None:
            edit_list = _lengths(content)
        else:
            raise _invalid_header("it holds two edit lists" if kind == _EDIT_LIST else "a packet is of unknown kind")
    if not readable:
        yours = "yours" if len(private_keys) == 1 else "any of yours"
        raise WrongKeyError(
            f"The Crypt4GH header is encrypted for a different key than {yours}.",
            hint="Use the private key that belongs to the public key the file was encrypted for.",
        )
    if not keys:
        raise _invalid_header("it holds no data key")
    return OpenedHeader(size=size, session_keys=tuple(keys), edit_list=edit_list or ())


class _Reader:
    """A private key, and the keys that it shares with the writers of packets."""

    def __init__(self, private_key: bytes) -> None:
        self._private_key = private_key
        self._public_key = crypto_scalarmult_base(private_key)
        self._shared: dict[bytes, bytes] = {}

    def decrypt(self, encrypted: bytes) -> bytes | None:
        """The content of a header packet; `None` if it is for another reader, of an unknown method, or empty."""
        content = encrypted[_CONTENT_START:]
        if encrypted[:4] != _X25519 or len(content) <= TAG_SIZE:
            return None
        writer, nonce = encrypted[4 : 4 + KEY_SIZE], encrypted[4 + KEY_SIZE : _CONTENT_START]
        try:
            if writer not in self._shared:
                key, _ = crypto_kx_client_session_keys(self._public_key, self._private_key, writer)
                self._shared[writer] = key
            return ChaCha20Poly1305(self._shared[writer]).decrypt(nonce, content, None)
        except (CryptoError, InvalidTag):
            return None


def _packets(header: bytes) -> Iterator[bytes]:
    position = _PREFIX.size
    while position < len(header):
        (length,) = _LENGTH.unpack_from(header, position)
        yield header[position + _LENGTH.size : position + length]
        position += length


def _encrypt_packet(packet: bytes, private_key: bytes, recipient: bytes, nonce: bytes) -> bytes:
    try:
        sender = crypto_scalarmult_base(private_key)
        _, key = crypto_kx_server_session_keys(sender, private_key, recipient)
    except (CryptoError, ValueError, TypeError) as error:
        raise UsageError(
            "A key for the Crypt4GH header is not a valid X25519 key.",
            hint="Check the recipient's public key and your own.",
        ) from error
    return _X25519 + sender + nonce + ChaCha20Poly1305(key).encrypt(nonce, packet, None)


def _data_key(content: bytes) -> bytes:
    """The key of a data encryption packet (section 3.2.3); padding may follow it (section 3.2.1)."""
    if content[:4] != _CHACHA20_POLY1305:
        raise _invalid_header("its data is encrypted by an unknown method")
    key = content[4 : 4 + KEY_SIZE]
    if len(key) != KEY_SIZE:
        raise _invalid_header(f"its data key has {len(key)} bytes")
    return key


def _lengths(content: bytes) -> tuple[int, ...]:
    """The lengths of an edit list packet (section 3.2.4); padding may follow them (section 3.2.1)."""
    count = int.from_bytes(content[:4], "little")
    if content and len(content) < 4 + 8 * count:
        raise _invalid_header("its edit list is malformed")
    return struct.unpack_from(f"<{count}Q", content, 4) if count else ()


def _invalid_header(why: str) -> IntegrityError:
    return IntegrityError(
        f"This is not a valid Crypt4GH header: {why}.",
        hint="Check that the file is a complete .c4gh file.",
    )
