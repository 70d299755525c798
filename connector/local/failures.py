"""Translates errors of the operating system into one sentence and a hint."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from connector.errors import LocalError

_HINTS = {
    errno.ENOSPC: "Free some space, then run the same command again: what is done is kept.",
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
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=hint) from error
    except UnicodeEncodeError as error:
        reason = f"the encoding of file names here ({error.encoding}) lacks a character of the name"
        raise LocalError(f"Could not {action} {os.fspath(path)}: {reason}.", hint=_ENCODING_HINT) from error
