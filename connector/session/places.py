"""Where things lie that outlive a run."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from connector.config import APPLICATION
from connector.local.output_folders import OutputFolders


def journal_folder(state_folder: Path | None = None) -> Path:
    """Where the journals of unfinished uploads are: by default in the user's state folder, at home, which the machines
    of a cluster share."""
    return _state_folder(state_folder) / "uploads"


def finished_folder(state_folder: Path | None = None) -> Path:
    """Where the notes of finished files are (:mod:`connector.local.finished`), in the same state folder."""
    return _state_folder(state_folder) / "finished"


def output_folders(state_folder: Path | None = None) -> OutputFolders:
    """The notes of the folders that downloads go to, in the same state folder."""
    return OutputFolders(_state_folder(state_folder) / "outputs")


def _state_folder(chosen: Path | None) -> Path:
    return chosen or Path(platformdirs.user_state_dir(APPLICATION))
