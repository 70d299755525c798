"""What to encrypt or decrypt, what came of it, and whether a target that exists is that already."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import attrs

from connector.errors import FileExistsAlready
from connector.local.finished import FinishedFile
from connector.local.partial_file import IN_THE_WAY
from connector.local.source_file import SourceState
from connector.transfer import AlreadyThere


@attrs.frozen
class RecryptRequest:
    """A local file and the file to make of it."""

    path: Path
    target: Path


@attrs.frozen
class RecryptedFile:
    """A finished file; `size` in bytes; `already_there`: set where nothing had to be done, to what was compared."""

    path: Path
    target: Path
    size: int
    already_there: AlreadyThere | None = None


def origin_of(path: Path, state: SourceState, recipe: str) -> str:
    """What a result is made of, in few characters: the source as it is now, and what is done to it. Blocks."""
    parts = [recipe, os.path.realpath(path), str(state.size), str(state.mtime_ns)]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def known(target: Path, state: os.stat_result, note: FinishedFile | None, origin: str, *, overwrite: bool) -> bool:
    """Whether an earlier run is known to have made `target`, now in this `state`, of the same source.

    Raises:
        FileExistsAlready: If one is known to have made it of something else.
    """
    if note is None or not note.is_unchanged(state):
        return False
    if note.origin != origin and not overwrite:
        raise FileExistsAlready(
            f"{target} exists already, and was made of another file, of an earlier state of it or for other keys.",
            hint=IN_THE_WAY,
        )
    return note.origin == origin


def compare(target: Path, state: os.stat_result, size: int) -> AlreadyThere:
    """What shows that `target`, of which nothing is known, is what would be made: a file of this `size`.

    Raises:
        FileExistsAlready: If it is of another size.
    """
    if state.st_size != size:
        raise FileExistsAlready(f"{target} exists already, and is of another size than the result.", hint=IN_THE_WAY)
    return "size"
