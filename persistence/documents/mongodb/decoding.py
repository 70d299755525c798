"""How BSON becomes plain documents."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions

CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, uuid_representation=UuidRepresentation.STANDARD
)
