"""How BSON becomes plain documents."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.int64 import Int64


class _PlainInt(TypeDecoder):
    """Reads numbers of 64 bits as plain ints, which BSON's own class of them is only a subclass of."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        """See `TypeDecoder`."""
        return int(value)


CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.STANDARD,
    type_registry=TypeRegistry([_PlainInt()]),
)
