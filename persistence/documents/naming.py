"""Names of collections and fields that every provider can store."""

from __future__ import annotations

import re

from persistence.errors import InvalidName

_COLLECTION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", re.ASCII)
# MongoDB takes paths of 200 steps, and documents are nested 90 levels deep at most.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+){0,90}", re.ASCII)


def check_collection(name: str) -> str:
    """Give back the collection name, or raise `InvalidName`.

    Collections named `system.` belong to MongoDB, names starting with `sqlite` to SQLite.
    """
    reserved = isinstance(name, str) and name.lower().startswith(("system.", "sqlite"))
    if not isinstance(name, str) or reserved or not _COLLECTION.fullmatch(name):
        hint = "Use a letter, then up to 62 letters, digits, dots, hyphens and underscores."
        raise InvalidName(f"{name!r} is not a collection name.", hint=hint)
    return name


def check_field(path: str) -> str:
    """Give back the field path (`a` or `a.b`), or raise `InvalidName`."""
    if not isinstance(path, str) or not _FIELD.fullmatch(path):
        raise InvalidName(f"{path!r} is not a field.", hint="Use the name of an attribute, or names joined by dots.")
    return path
