"""Requests and results of encrypting and decrypting, and whether an existing target is the result already."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import attrs

from connector.errors import FileExistsAlready
from connector.local.finished import FinishedFile
from connector.local.partial_file import EXISTS_HINT
from connector.local.source_file import SourceState
from connector.transfer import AlreadyThere


@attrs.frozen
class RecryptRequest:
    """A local file and the file to write."""

    path: Path
    target: Path


@attrs.frozen
class RecryptedFile:
    """A finished file; `size` in bytes; `already_there`: what was compared if it existed already."""

    path: Path
    target: Path
    size: int
    already_there: AlreadyThere | None = None


def origin_of(path: Path, state: SourceState, transformation: str) -> str:
    """A digest of what a result is made from: the source in its present state, and the transformation. Blocks."""
    parts = [transformation, os.path.realpath(path), str(state.size), str(state.mtime_ns)]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def is_recorded(
    target: Path, state: os.stat_result, record: FinishedFile | None, origin: str, *, overwrite: bool
) -> bool:
    """Whether an earlier run recorded that it made `target`, now in this `state`, from the same source.

    Raises:
        FileExistsAlready: If it was made from something else.
    """
    if record is None or not record.is_unchanged(state):
        return False
    if record.origin != origin and not overwrite:
        raise FileExistsAlready(
            f"{target} exists already, and was made from another file, from an earlier state of it or for other keys.",
            hint=EXISTS_HINT,
        )
    return record.origin == origin


def compare(target: Path, state: os.stat_result, size: int) -> AlreadyThere:
    """What was compared to take `target`, of which there is no record, for the result: its `size`.

    Raises:
        FileExistsAlready: If it has another size.
    """
    if state.st_size != size:
        raise FileExistsAlready(f"{target} exists already, and is of another size than the result.", hint=EXISTS_HINT)
    return "size"
