"""What to encrypt or decrypt, and what came of it."""

from __future__ import annotations

from pathlib import Path

import attrs

from connector.transfer import AlreadyThere


@attrs.frozen
class RecryptRequest:
    """A local file and the file to make of it."""

    path: Path
    target: Path


@attrs.frozen
class RecryptedFile:
    """A finished file; ``size`` in bytes; ``already_there``: set where nothing had to be done, to what was compared."""

    path: Path
    target: Path
    size: int
    already_there: AlreadyThere | None = None
