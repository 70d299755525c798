"""The folder that results are written into."""

from __future__ import annotations

from pathlib import Path

from connector.local.failures import local_failures


def ready_folder(folder: Path) -> None:
    """Make the folder if it is not there; :class:`~connector.errors.LocalError` if that cannot be."""
    with local_failures("use the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
