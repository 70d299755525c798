"""The folders that results are written into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connector.local.failures import local_failures


def ready_folder(folder: Path) -> None:
    """Create the folder if it does not exist; `LocalError` if that fails."""
    with local_failures("use the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)


def missing_in(folder: Path, names: Sequence[str]) -> list[str]:
    """The names with which no file in the folder begins; `LocalError` if it cannot be read."""
    with local_failures("look into", folder):
        found = [path.name for path in folder.iterdir()]
    return [name for name in names if not any(file.startswith(name) for file in found)]
