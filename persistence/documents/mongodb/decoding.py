"""Documents of MongoDB's batches, read the quick way.

PyMongo makes a UUID of three objects and a time of two, which is most of the work of reading a
document. Batches are therefore decoded without either: UUIDs stay binary values, times are naive,
and the model's loader makes of them what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, SafeUUID

import bson
from bson.binary import UUID_SUBTYPE, Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection

from persistence.documents.codec import ModelCodec, NativeTypes

STANDARD: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, uuid_representation=UuidRepresentation.STANDARD
)
"""How everything is written, and read where it is not much."""
_QUICK: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=False, uuid_representation=UuidRepresentation.UNSPECIFIED
)

_NEW: Final = UUID.__new__
_SET: Final = object.__setattr__
_SAFE: Final = SafeUUID.unknown
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)


class Reader:
    """Reads documents for one model: quickly where all its values have types, else as everything is.

    Args:
        codec: of the model.
    """

    def __init__(self, codec: ModelCodec[Any]) -> None:
        self._codec = codec
        self._quick = codec.loader(id_key="_id", forms=NativeTypes(_uuid, _time, _plain))

    def reading(self, stored: AsyncCollection[dict[str, Any]]) -> AsyncCollection[dict[str, Any]]:
        """The collection with its documents decoded for `load`."""
        return stored if self._quick is None else stored.with_options(codec_options=_QUICK)

    @property
    def load(self) -> Callable[[Any], Any]:
        """What makes models of such documents, and of those that were decoded as everything is."""
        return self._load_slowly if self._quick is None else self._quick

    def _load_slowly(self, stored: Mapping[str, Any]) -> Any:
        document = dict(stored)
        document[self._codec.id_field] = document.pop("_id")
        return self._codec.load(document)


def encoded(where: Mapping[str, Any]) -> RawBSONDocument:
    """A filter that can be sent by a collection whichever way that decodes."""
    return RawBSONDocument(bson.encode(where, codec_options=STANDARD))


def _uuid(value: Any, _: Any) -> UUID:
    if type(value) is Binary and value.subtype == UUID_SUBTYPE:
        # As UUID(bytes=value) does, without looking at five other ways to make one.
        uuid = _NEW(UUID)
        _SET(uuid, "int", int.from_bytes(value))
        _SET(uuid, "is_safe", _SAFE)
        return uuid
    if isinstance(value, UUID):
        return value
    raise TypeError(f"{value!r} is not of type UUID")


def _time(value: Any, _: Any) -> datetime:
    if isinstance(value, datetime):
        # As value.replace(tzinfo=UTC) does, in a tenth of its time.
        return _EPOCH + (value - _NAIVE_EPOCH) if value.tzinfo is None else value
    raise TypeError(f"{value!r} is not of type datetime")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _time(value, None)
    return _uuid(value, None) if type(value) is Binary and value.subtype == UUID_SUBTYPE else value
