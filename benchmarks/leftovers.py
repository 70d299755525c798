"""Folders that a run leaves behind: their bytes are given back at once, the files themselves go at the end.

ext4 without a journal does not use the inode of a file again that was deleted in the last minutes, and looks through
all of these whenever a file is made. After a few rounds of many small files, each of which deletes what the one before
had left, that would be a good part of what is measured.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def put_away(folder: Path, heap: Path) -> None:
    """Empty all files of a folder, if it exists, and move it below ``heap``, which goes with the benchmark's folder."""
    if not folder.exists():
        return
    for inside, _, names in os.walk(folder):
        for name in names:
            path = Path(inside, name)
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)
    heap.mkdir(exist_ok=True)
    folder.rename(Path(tempfile.mkdtemp(dir=heap), folder.name))
