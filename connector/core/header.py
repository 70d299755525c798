"""The Crypt4GH envelope (file header): making, measuring and opening it.

Source: Crypt4GH specification, section 2.2 ("Header"). Packet cryptography is the ``crypt4gh`` package's own;
the sizes are checked here first, because an envelope comes from outside and may claim anything.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import attrs
from crypt4gh import header as crypt4gh_header

from connector.errors import IntegrityError

MAGIC = b"crypt4gh"
VERSION = 1
MAX_ENVELOPE_SIZE = 1024**2
"""More than any honest envelope: over 9,000 recipients."""
_PREFIX = struct.Struct("<8sII")
_LENGTH = struct.Struct("<I")
_KEY_SIZE = 32


@attrs.frozen
class OpenedEnvelope:
    """What an envelope holds for one reader.

    ``size``: bytes of the envelope. ``session_keys``: the data keys, 32 bytes each. ``edit_list``: lengths that are
    discarded and kept in turn (specification, section 4.2.1.2), ``None`` when the whole plaintext counts.
    """

    size: int
    session_keys: tuple[bytes, ...] = attrs.field(repr=False)
    edit_list: tuple[int, ...] | None = None


def is_crypt4gh(prefix: bytes) -> bool:
    """Whether these first bytes of a file are those of a Crypt4GH file."""
    return prefix[:8] == MAGIC


def envelope_size(data: bytes) -> int | None:
    """Bytes of the envelope at the start of ``data``, or ``None`` while ``data`` is too short to tell.

    Raises :class:`~connector.errors.IntegrityError` if this is no envelope or one larger than 1 MiB.
    """
    if len(data) < _PREFIX.size:
        if not MAGIC.startswith(data[:8]):
            raise _not_an_envelope("it does not begin with the Crypt4GH magic number")
        return None
    magic, version, packets = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise _not_an_envelope("it does not begin with the Crypt4GH magic number")
    if version != VERSION:
        raise _not_an_envelope(f"its version is {version}, and only version 1 is known")
    position = _PREFIX.size
    if packets == 0 or position + packets * _LENGTH.size > MAX_ENVELOPE_SIZE:
        raise _not_an_envelope(f"it claims {packets} packets")
    for _ in range(packets):
        if len(data) < position + _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data, position)
        if length < _LENGTH.size or position + length > MAX_ENVELOPE_SIZE:
            raise _not_an_envelope(f"a packet of it claims {length} bytes")
        position += length
    return position if len(data) >= position else None


def make_envelope(session_key: bytes, *, sender_private_key: bytes, recipient_public_keys: Sequence[bytes]) -> bytes:
    """An envelope that gives ``session_key`` to each of the recipients (124 bytes for one recipient)."""
    packet = crypt4gh_header.make_packet_data_enc(0, session_key)
    keys = [(0, sender_private_key, public_key) for public_key in recipient_public_keys]
    return bytes(crypt4gh_header.serialize(crypt4gh_header.encrypt(packet, keys)))


def open_envelope(data: bytes, private_key: bytes) -> OpenedEnvelope:
    """Open the envelope at the start of ``data`` with a reader's private key (32 bytes).

    Raises :class:`~connector.errors.IntegrityError` if it is malformed, cut short, or made for another key.
    """
    size = envelope_size(data)
    if size is None:
        raise _not_an_envelope("it ends too early")
    try:
        encrypted = list(crypt4gh_header.parse(io.BytesIO(data[:size])))
        packets, _ = crypt4gh_header.decrypt(encrypted, [(0, private_key, None)])
        if not packets:
            raise IntegrityError(
                "The Crypt4GH envelope was not made for your key.",
                hint="Use the private key that belongs to the public key the file was encrypted for.",
            )
        data_packets, edit_packet = crypt4gh_header.partition_packets([bytes(p) for p in packets])
        keys = tuple(bytes(crypt4gh_header.parse_enc_packet(packet)) for packet in data_packets)
        edits = tuple(crypt4gh_header.parse_edit_list_packet(edit_packet)) if edit_packet else None
    except (ValueError, IndexError) as error:
        raise _not_an_envelope(str(error)) from error
    if not keys or any(len(key) != _KEY_SIZE for key in keys):
        raise _not_an_envelope("it holds no usable data key")
    return OpenedEnvelope(size=size, session_keys=keys, edit_list=edits)


def _not_an_envelope(why: str) -> IntegrityError:
    return IntegrityError(
        f"This is not a usable Crypt4GH envelope: {why}.",
        hint="Check that the file is a complete .c4gh file.",
    )
