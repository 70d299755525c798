"""One module per line of the acceptance list. Each has ``run(options) -> Report``."""

from __future__ import annotations

NAMES = (
    "startup",
    "download",
    "decrypted",
    "upload",
    "recrypt",
    "small_files",
    "tls",
    "adaptive",
    "scheduler",
    "growth",
    "wan",
    "s3",
    "persistence",
    "archive",
    "interrogation",
)
BY_NAME_ONLY = frozenset({"wan"})
"""Too long to be a part of everything."""
