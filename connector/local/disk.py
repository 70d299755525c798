"""The local disk: its errors as a sentence and a hint, folders, and small files read whole, the settings too."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from connector.config import Settings, config_place, load_settings, option_name
from connector.errors import LocalError, UsageError

NO_SPACE_HINT = "Free some space, then run the same command again: what is done is kept."
_HINTS = {
    errno.ENOSPC: NO_SPACE_HINT,
    errno.EDQUOT: "Your quota is used up: free some space, then run the same command again.",
    errno.EFBIG: "The file is larger than this file system or your limits allow (ulimit -f).",
    errno.ELOOP: "A symbolic link is in the way: remove it, or choose another folder.",
    errno.EACCES: "Check the permissions of the file and its folder.",
    errno.EPERM: "Check the permissions of the file and its folder.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a part of it is a file, not a folder.",
    errno.EISDIR: "It is a folder: name a file.",
    errno.ENAMETOOLONG: "The name is too long for this file system: choose a shorter one.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.EIO: "The disk reports a failure: check it.",
    errno.ESTALE: "The network file system lost the file: run the same command again.",
}
_ENCODING_HINT = "Choose a locale whose encoding has all characters (LC_ALL=C.UTF-8)."


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_KIB = 1024


@contextmanager
def local_failures(action: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Translate an `OSError`, and a name that cannot be encoded, into a `LocalError` about `path`.

    `action` completes "could not": `read`, `write`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = _HINTS.get(error.errno or 0, "")
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = f"{_other_owner(path)}{hint}"
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=hint) from error
    except UnicodeEncodeError as error:
        reason = f"the encoding of file names here ({error.encoding}) lacks a character of the name"
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=_ENCODING_HINT) from error


def _other_owner(path: str | os.PathLike[str]) -> str:
    """A sentence that names the owner of a file if that is another user, as in a folder that a group shares."""
    if sys.platform != "win32":
        import pwd

        with suppress(OSError):
            owner = os.lstat(path).st_uid
            name = str(owner)
            with suppress(KeyError):
                name = pwd.getpwuid(owner).pw_name
            if owner != os.geteuid():
                return f"It belongs to the user {name}. "
    return ""


def path_of(given: str | os.PathLike[str]) -> Path:
    """The path that a user has written; `~/` in a text is the user's home.

    A shell does not expand it in `--output-dir=~/data`, and nothing does in Python, in a list or a variable; without
    this a folder called `~` would be created.

    Raises:
        UsageError: Where the home folder is not known, and for an empty text, which would be the current folder.
    """
    if given == "":
        raise UsageError("A path is empty.", hint="Is a variable not set?")
    if not (isinstance(given, str) and given.startswith("~/")):
        return Path(given)
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UsageError(f"{given!r}: the home folder is not known, set HOME.") from None


def ready_folder(folder: Path) -> None:
    """Create the folder if it does not exist; `LocalError` if that fails."""
    with local_failures("use the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)


def files_named(folder: Path, ending: str) -> list[Path]:
    """The files of a folder whose names end so, sorted; none if there is no such folder. Blocks.

    `Path.glob` takes a folder that cannot be read for an empty one.

    Raises:
        LocalError: If it cannot be read.
    """
    with local_failures("look into", folder):
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(folder / name for name in names if name.endswith(ending))


def missing_in(folder: Path, names: Sequence[str]) -> list[str]:
    """The names with which no file in the folder begins; `LocalError` if it cannot be read."""
    with local_failures("look into", folder):
        found = [path.name for path in folder.iterdir()]
    return [name for name in names if not any(file.startswith(name) for file in found)]


def read_small_file(path: Path, what: str, *, limit: int = 64 * _KIB, descriptor: int | None = None) -> bytes:
    """The content of a file, as UTF-8 without a byte order mark if it has one; `what` names it in errors.

    For what people write: keys, settings, lists. It is read once, from start to end, so that it may be a pipe
    (`<(...)`), and not further than the limit, since a huge file may be given by mistake. Editors and shells of Windows
    put a byte order mark before the text. One that is open already is read from `descriptor`, and stays open. Blocks.

    Raises:
        LocalError: If it cannot be read.
        UsageError: If it has more than `limit` bytes.
    """
    opened = path if descriptor is None else descriptor
    with local_failures(f"read the {what}", path), open(opened, "rb", closefd=descriptor is None) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(
            f"{path} has more than {limit // _KIB:,} KiB, so it is not a {what}.", hint="Is it the data itself?"
        )
    return without_mark(content)


def read_own_file(path: Path, limit: int) -> bytes:
    """At most the first `limit` bytes of a file that this program writes; raises `OSError`.

    Another program may have put anything in its place: a pipe, which is not waited for and has no content, or a link to
    a device that never ends.
    """
    with open(path, "rb", opener=without_waiting) as file:
        return file.read(limit) or b""


def without_waiting(path: str, flags: int) -> int:
    """An `opener` for `open` that does not wait until a pipe has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def without_mark(content: bytes) -> bytes:
    """The text without its byte order mark, in UTF-8 if the mark is one of UTF-16; other content as it is."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode()
            except UnicodeError:
                return content
    return content


def read_settings(
    values: Mapping[str, object | None],
    environment: Mapping[str, str],
    *,
    config: str | None = None,
    name_of: Callable[[str], str] = option_name,
) -> Settings:
    """Put settings together as `load_settings` does; reads the configuration file, by default the user's. Blocks.

    Raises:
        UsageError: Naming the source of an invalid value, or a configuration file that cannot be read.
    """
    path, named = config_place(config, environment)
    return load_settings(values, environment, _read_settings_file(path, named), config_name=str(path), name_of=name_of)


def _read_settings_file(path: Path, named: bool) -> bytes | None:
    try:
        return read_small_file(path, "configuration file", limit=1024 * _KIB)
    except LocalError as error:
        if not named and isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise UsageError(error.message, hint=error.hint) from error
