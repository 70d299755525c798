"""Names of files: those that others chose, safe on any system, and those of the working files beside a target."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

MAX_LENGTH = 200
"""Bytes; with our own suffixes, names stay below the 255 bytes that most file systems allow."""
_LONGEST_ENDING = 40
_UNDERSCORES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))
"""For what separates paths, or is not allowed in names, on Windows; a slash is not allowed anywhere."""
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
_USUAL_LONGEST = 255
_LONGEST_WORKING_ENDING = len(".part.lock.12345678")
_ALWAYS_FITS = 100
"""Bytes of a name with which working names fit everywhere: eCryptfs, which has the shortest, allows 143."""


def safe_file_name(name: str, ending: str = "") -> str:
    """The name of one file, on any system, for a text that an archive chose; a safe one is its own.

    Letters of any script, digits, blanks and most punctuation stay. Separators of paths and what cannot be printed
    become underscores, as do a leading dot, hyphen, tilde or blank and a last dot or blank; names of Windows' devices
    get one in front. A name of more than 200 bytes is cut, and a digest added. Two texts may so get the same name, see
    `collision_key`.

    Args:
        name: What the archive calls it.
        ending: Follows it, and stays when the name is cut.
    """
    text = unicodedata.normalize("NFC", name + ending)  # macOS writes the same letters decomposed
    safe = text.translate(_UNDERSCORES)
    if not safe.isprintable():
        safe = "".join(letter if letter.isprintable() else "_" for letter in safe)
    if safe[:1] in (".", "-", "~", " ", ""):
        safe = f"_{safe[1:]}"
    if safe[-1] in ". ":
        safe = f"{safe[:-1]}_"
    if _DEVICE.fullmatch(safe):
        safe = f"_{safe}"
    if len(safe.encode()) <= MAX_LENGTH:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = safe[-len(ending) :] if 0 < len(ending.encode("utf-8", "surrogatepass")) <= _LONGEST_ENDING else ""
    room = MAX_LENGTH - len(f"~{digest}{kept}".encode())
    return f"{safe.encode()[:room].decode('utf-8', 'ignore')}~{digest}{kept}"


def collision_key(name: str) -> str:
    """Equal for two names that are one on a file system which ignores case or the Unicode form, as macOS' does.

    The canonical caseless form (The Unicode Standard, D145).
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


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
    longest = _longest_name(target.parent) - _LONGEST_WORKING_ENDING
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
