"""How BSON becomes plain documents."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from bson.int64 import Int64

CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, uuid_representation=UuidRepresentation.STANDARD
)
_CONVERTED: Final = frozenset((Int64, dict, list))


def plain(value: Any) -> Any:
    """The value with numbers of 64 bits as plain ints, which BSON's own class of them is only a subclass of.

    A `TypeDecoder` of PyMongo would do it too, but makes each reply be decoded twice.
    """
    if type(value) is dict:
        for name, item in value.items():
            if type(item) in _CONVERTED:
                value[name] = plain(item)
        return value
    return list(map(plain, value)) if type(value) is list else int(value) if type(value) is Int64 else value
