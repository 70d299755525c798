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
    """A number of 64 bits as a plain int, which BSON's own class is only a subclass of; a dict or list with such ones.

    A `TypeDecoder` of PyMongo would do it too, but makes each reply be decoded twice.
    """
    if type(value) is Int64:
        return int(value)
    for key, item in value.items() if type(value) is dict else enumerate(value):
        if type(item) in _CONVERTED:
            value[key] = plain(item)
    return value
