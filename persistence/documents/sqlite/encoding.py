"""Plain documents as JSON text in which SQLite compares and sorts values as MongoDB does.

JSON has no times, UUIDs and bytes: they become text with a tag (`$t:`, `$u:`, `$b:`) that sorts
within its kind as the values do; text that begins with `$` itself gets the tag `$s:`. Bytes sort by
length first, as in BSON. NUL, at which SQLite's JSON functions stop reading, is written as two
control characters, in a way that keeps the order of texts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

TEXT, TIME, ID, BYTES = "$s:", "$t:", "$u:", "$b:"
_NUL: Final = {0: "\1\1", 1: "\1\2"}


def to_text(document: dict[str, Any]) -> str:
    """The JSON text of a document."""
    return json_text(to_stored(document))


def json_text(value: Any) -> str:
    """The shortest JSON text of a value that JSON has."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def from_text(text: str) -> dict[str, Any]:
    """The document in a JSON text."""
    document: dict[str, Any] = json.loads(text)
    # Most documents have nothing that needs decoding; the look for it is much quicker than the walk.
    if '"$' in text or "\\u0001" in text:
        return {key: from_stored(value) for key, value in document.items()}
    return document


def to_stored(value: Any) -> Any:
    """A plain value as JSON has it."""
    kind = type(value)
    if kind is str:
        if value[:1] == "$":
            value = TEXT + value
        return value.translate(_NUL) if "\0" in value or "\1" in value else value
    if value is None or kind is int or kind is bool or kind is float:
        return value
    if kind is dict:
        return {key: to_stored(item) for key, item in value.items()}
    if kind is list:
        return [to_stored(item) for item in value]
    if kind is datetime:
        return f"{TIME}{value.year:04}{value.isoformat(timespec='milliseconds')[4:23]}Z"
    if kind is UUID:
        return f"{ID}{value}"
    return f"{BYTES}{len(value):010x}{value.hex()}"


def from_stored(value: Any) -> Any:
    """A JSON value as a plain one."""
    kind = type(value)
    if kind is str:
        if "\1" in value:
            value = value.replace("\1\1", "\0").replace("\1\2", "\1")
        return _untagged(value) if value[:1] == "$" else value
    if kind is dict:
        return {key: from_stored(item) for key, item in value.items()}
    if kind is list:
        return [from_stored(item) for item in value]
    return value


def _untagged(value: str) -> Any:
    tag, rest = value[:3], value[3:]
    if tag == TEXT:
        return rest
    if tag == TIME:
        return datetime.fromisoformat(rest[:-1]).replace(tzinfo=UTC)
    if tag == ID:
        return UUID(rest)
    return bytes.fromhex(rest[10:])
