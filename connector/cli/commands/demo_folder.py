"""The folder that a demonstration works in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.cli.screen import amount
from connector.errors import LocalError, UsageError
from connector.local.failures import local_failures

COPIES = 6
"""Of each file: source, inbox, permanent bucket, download bucket, two downloads and one decrypted; the inbox is empty
by the time of the downloads."""


@contextmanager
def working_folder(keep: Path | None, *, needed: int) -> Iterator[Path]:
    """Create a folder with space for `needed` bytes of files in all their copies; it is removed again unless kept.

    Raises:
        UsageError: For a folder to keep that holds something already.
        LocalError: When there is too little room.
    """
    if keep is not None:
        with local_failures("use the folder", keep):
            keep.mkdir(parents=True, exist_ok=True)
            if any(keep.iterdir()):
                raise UsageError(f"{keep} is not empty.", hint="Name a new folder.")
        _check_room(keep, needed)
        yield keep.resolve()
        return
    with local_failures("make a folder in", tempfile.gettempdir()):
        temporary = tempfile.TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=True)
    with temporary as folder:
        _check_room(Path(folder), needed)
        yield Path(folder)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * COPIES:
        raise LocalError(
            f"The demonstration needs {amount(needed * COPIES)} in {folder}, and {amount(free)} are free.",
            hint="Choose a smaller --size, or a folder elsewhere with --keep (or TMPDIR).",
        )
