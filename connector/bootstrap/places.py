"""Where things lie that outlive a run."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from connector.config import APPLICATION


def journal_folder(state_folder: Path | None = None) -> Path:
    """Where the journals of unfinished uploads are: by default in the user's state folder, at home, which the machines
    of a cluster share."""
    return (state_folder or Path(platformdirs.user_state_dir(APPLICATION))) / "uploads"
