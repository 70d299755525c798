"""Names for local files made of what an archive said, which may be anything."""

from __future__ import annotations

import re

from connector.errors import IntegrityError

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@,~ -]*", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
MAX_LENGTH = 200
"""Bytes; leaves room for our own endings below the 255 that most file systems allow."""


def checked_file_name(name: str) -> str:
    """Return ``name`` if it is safe as the name of one file on any system.

    Raises :class:`~connector.errors.IntegrityError` for names with path separators, control characters, a leading dot,
    names that Windows reserves, and ones that are too long: no honest archive gives such an accession or extension.
    """
    if not _SAFE.fullmatch(name) or name[-1] in ". " or _RESERVED.fullmatch(name) or len(name) > MAX_LENGTH:
        raise IntegrityError(
            f"The archive names a file {name[:80]!r}, which is not safe to use on this machine.",
            hint="Nothing was written. Tell the archive's operators.",
        )
    return name
