"""Encrypting a local file for recipients."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from connector.crypt4gh.header import make_header
from connector.crypt4gh.layout import sealed_size
from connector.crypt4gh.segments import PartSealer, SealedLayout
from connector.local.partial_file import PartialFile
from connector.local.source_file import SourceFile
from connector.parts import Part
from connector.recrypt.job import Extent


class Encryption:
    """The transformation that encrypts with a new session key; an empty file becomes a header alone.

    `random_bytes` generates keys and nonces.
    """

    kind = "encryption"

    def __init__(
        self, private_key: bytes, recipients: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._private_key = private_key
        self._recipients = recipients
        self._draw = random_bytes
        self._sealer: PartSealer | None = None

    @property
    def name(self) -> str:
        """Includes the recipients, since a file that is encrypted for others is a different result."""
        return " ".join([self.kind, *sorted(key.hex() for key in self._recipients)])

    def begin(self, source: SourceFile) -> Extent:
        """Encode the header."""
        session_key = self._draw(32)
        header = make_header(session_key, sender_private_key=self._private_key, recipient_public_keys=self._recipients)
        self._sealer = PartSealer(
            SealedLayout(header, source.state.size),
            session_key=session_key,
            nonce_seed=self._draw(32),
            random_bytes=self._draw,
        )
        total = len(header) + sealed_size(source.state.size)
        return Extent(moved=total, made=total, shift=len(header))

    def move(self, part: Part, buffer: memoryview, source: SourceFile, target: PartialFile) -> None:
        """Read, encrypt and write a part or a piece of one."""
        assert self._sealer is not None, "begin() comes first"
        target.write(part.start, [self._sealer.read_plaintext(part, buffer, source.read_into).seal()])
