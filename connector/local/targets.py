"""Targets of transfers: names that are safe on any system, the working files beside them, what is there already and how
much space is left, and the folders that hold them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from connector.errors import ConnectorError, FileExistsAlready, LocalError
from connector.local.disk import NO_SPACE_HINT, files_named, local_failures, read_own_file
from connector.local.journal import decode_record, encode_record
from connector.local.lock_file import LockFile

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
WORKING_ENDINGS = (".part", ".part.journal", ".part.lock")
"""What follows the name of a target in those of its partial file, journal and lock file."""
EXISTS_HINT = "Move it away, or choose another output folder, and run the same command again; --overwrite replaces it."
NO_SPACE_CODES = (errno.ENOSPC, errno.EDQUOT)
_RECORD = ".output"
_LONGEST_RECORD = 64 * 1024


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


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise `FileExistsAlready` if `target` exists and may not be overwritten."""
    if os.path.lexists(target):
        if target.is_dir():
            raise LocalError(f"{target} is a folder.", hint="Move it away or choose another output folder.")
        if not overwrite:
            _remove_leftovers(target)
            raise FileExistsAlready(f"{target} exists already.", hint=EXISTS_HINT)


def check_free(target: Path) -> None:
    """Raise what `PartialFile.open` would raise if another process works on `target`, before any request is sent."""
    LockFile.check_free(lock_path(target), target)


def existing(target: Path) -> os.stat_result | None:
    """The state of `target` if it is a file. Removes what a process left that was killed right after the rename."""
    try:
        with local_failures("look at", target):
            state = os.stat(target)
    except LocalError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    if not stat.S_ISREG(state.st_mode):
        return None
    _remove_leftovers(target)
    return state


def _remove_leftovers(target: Path) -> None:
    """Remove what a process left beside `target` that was killed right after the rename."""
    path, journal_path = working_paths(target)
    if path.exists() or not (journal_path.exists() or lock_path(target).exists()):
        return
    with suppress(ConnectorError, OSError):  # the other process may be about to remove them itself
        lock_file = LockFile.take(lock_path(target), target)
        try:
            journal_path.unlink(missing_ok=True)
        finally:
            lock_file.release()


def check_space(target: Path, wanted: int) -> None:
    """Raise `LocalError` if the disk of `target` has fewer bytes free than `wanted`."""
    free = free_space(target)
    if free is not None and wanted > free:
        raise LocalError(
            f"{target} needs {wanted:,} more bytes, but only {free:,} are free there: {wanted - free:,} are missing.",
            hint=NO_SPACE_HINT,
        )


def no_space_error(error: OSError, target: Path, wanted: int) -> LocalError:
    """The error for one of `NO_SPACE_CODES`, for a target that needs `wanted` more bytes."""
    quota = error.errno == errno.EDQUOT
    free = None if quota else free_space(target)  # the disk has space, but not for this user
    why = "Your quota is used up" if quota else "The disk is full"
    known = "" if free is None else f", and {free:,} are free there"
    missing = "" if free is None or free >= wanted else f": {wanted - free:,} are missing"
    return LocalError(f"{why}: {target} needs {wanted:,} more bytes{known}{missing}.", hint=NO_SPACE_HINT)


def free_space(target: Path) -> int | None:
    """Free bytes of the file system; `None` if it cannot tell, as some of FUSE, which fail or report a size of 0."""
    try:
        usage = shutil.disk_usage(target.parent)
    except OSError:
        return None
    return usage.free if usage.total else None


@attrs.frozen
class RecordedFolder:
    """An output folder, the machine that recorded it, and the file of that record."""

    path: Path
    host: str
    record: Path

    @property
    def is_gone(self) -> bool:
        """Whether there is certainly no such folder on this machine."""
        try:
            return not stat.S_ISDIR(os.stat(self.path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError):
            return False


@attrs.frozen
class OutputFolders:
    """The output folders of downloads, recorded so that `connector status` finds what is unfinished.

    There is one small file in `folder` for each output folder and machine. If it cannot be written, no download fails.
    Methods block: call them in threads.
    """

    folder: Path

    def add(self, output: Path) -> None:
        """Record that a download into `output` (absolute) begins."""
        record = self._record_of(output)
        new = record.with_name(f"{record.name}.{uuid.uuid4().hex}")
        with suppress(OSError):
            if record.exists():
                return
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                new.write_bytes(encode_record({"folder": str(output), "host": socket.gethostname()}))
                os.replace(new, record)
            finally:
                new.unlink(missing_ok=True)

    def forget_if_finished(self, output: Path) -> None:
        """Drop the record of this machine about `output` if nothing unfinished is left there."""
        with suppress(OSError):
            if not any(".part" in name for name in os.listdir(output)):
                self._record_of(output).unlink(missing_ok=True)

    def find_all(self, on_unreadable: Callable[[LocalError], None]) -> list[RecordedFolder]:
        """All recorded folders by path, each once, this machine's first; drops those of its own that do not exist.

        `on_unreadable` gets the error of a record, or of all of them, that cannot be read.
        """
        found: dict[Path, RecordedFolder] = {}
        host = socket.gethostname()
        for recorded in sorted(self._read(on_unreadable), key=lambda recorded: (recorded.path, recorded.host != host)):
            if recorded.host == host and recorded.is_gone:
                with suppress(OSError):
                    recorded.record.unlink(missing_ok=True)
            else:
                found.setdefault(recorded.path, recorded)
        return list(found.values())

    def _read(self, on_unreadable: Callable[[LocalError], None]) -> Iterator[RecordedFolder]:
        try:
            paths = files_named(self.folder, _RECORD)
        except LocalError as error:
            return on_unreadable(error)
        for path in paths:
            try:
                with local_failures("read", path):
                    content = read_own_file(path, _LONGEST_RECORD)
            except LocalError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # forgotten just now
                    on_unreadable(error)
                continue
            record = decode_record(content.rstrip(b"\n")) or {}
            if isinstance(record.get("folder"), str) and isinstance(record.get("host"), str):
                yield RecordedFolder(Path(record["folder"]), record["host"], path)

    def _record_of(self, output: Path) -> Path:
        name = f"{socket.gethostname()}\0{output}"
        return self.folder / (hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32] + _RECORD)
