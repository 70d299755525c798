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
    free = shutil.disk_usage(target.parent).free
    if wanted > free:
        raise LocalError(
            f"{target} needs {wanted:,} more bytes, but only {free:,} are free there: {wanted - free:,} are missing.",
            hint=_HINT,
        )


def no_space_error(error: OSError, target: Path, wanted: int) -> LocalError:
    """The error for one of `NO_SPACE_CODES`, for a target that needs `wanted` more bytes."""
    free = shutil.disk_usage(target.parent).free
    why = "Your quota is used up" if error.errno == errno.EDQUOT else "The disk is full"
    return LocalError(
        f"{why}: {target} needs {wanted:,} more bytes, and {free:,} are free there"
        + (f": {wanted - free:,} are missing." if wanted > free else "."),
        hint=_HINT,
    )
