"""The folders that results are written into."""

from __future__ import annotations

from pathlib import Path

from connector.local.failures import local_failures


def ready_folder(folder: Path) -> None:
    """Create the folder if it does not exist; `LocalError` if that fails."""
    with local_failures("use the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
