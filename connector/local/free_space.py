"""Space on the disk: checked before a file is written, and how much is missing when it has run out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Final

from connector.errors import LocalError

NO_SPACE_CODES: Final = (errno.ENOSPC, errno.EDQUOT)
_HINT: Final = "Free some space, then run the same command again: what is done is kept."


def check_space(target: Path, wanted: int) -> None:
    """Raise `LocalError` if the disk of `target` has fewer bytes free than `wanted`."""
    free = free_space(target)
    if free is not None and wanted > free:
        raise LocalError(
            f"{target} needs {wanted:,} more bytes, but only {free:,} are free there: {wanted - free:,} are missing.",
            hint=_HINT,
        )


def no_space_error(error: OSError, target: Path, wanted: int) -> LocalError:
    """The error for one of `NO_SPACE_CODES`, for a target that needs `wanted` more bytes."""
    free = free_space(target)
    why = "Your quota is used up" if error.errno == errno.EDQUOT else "The disk is full"
    known = "" if free is None else f", and {free:,} are free there"
    missing = "" if free is None or free >= wanted else f": {wanted - free:,} are missing"
    return LocalError(f"{why}: {target} needs {wanted:,} more bytes{known}{missing}.", hint=_HINT)


def free_space(target: Path) -> int | None:
    """Free bytes of the file system; `None` if it cannot tell, as some of FUSE, which fail or report a size of 0."""
    try:
        usage = shutil.disk_usage(target.parent)
    except OSError:
        return None
    return usage.free if usage.total else None
