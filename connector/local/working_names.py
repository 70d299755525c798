"""The names of the files that are beside a target while it is written."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

_USUAL_LONGEST = 255
_LONGEST_ENDING = len(".part.lock.12345678")
_ALWAYS_FITS = 100
"""Bytes of a name with which working names fit everywhere: eCryptfs, which has the shortest, allows 143."""


def working_paths(target: Path) -> tuple[Path, Path]:
    """The partial file of `target` and its journal."""
    name = _working_name(target)
    return target.with_name(name + ".part"), target.with_name(name + ".part.journal")


def lock_path(target: Path) -> Path:
    """The lock file of `target`."""
    return target.with_name(_working_name(target) + ".part.lock")


def _working_name(target: Path) -> str:
    """The name from which those of the working files are made: that of `target`, cut if they would be too long."""
    encoded = target.name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _ALWAYS_FITS:
        return target.name
    longest = _longest_name(target.parent) - _LONGEST_ENDING
    if len(encoded) <= longest:
        return target.name
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    return f"{encoded[: longest - len(digest) - 1].decode('utf-8', 'ignore')}~{digest}"


def _longest_name(folder: Path) -> int:
    """Bytes of the longest name in a folder, as its file system says; 255 if it does not."""
    if sys.platform != "win32":
        with suppress(OSError, ValueError):
            return os.pathconf(folder, "PC_NAME_MAX") or _USUAL_LONGEST
    return _USUAL_LONGEST
