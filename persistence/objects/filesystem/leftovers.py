"""Leftovers of killed processes: half-done uploads, temporary files, content that no record names."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import read_json, read_record
from persistence.objects.filesystem.uploads import HEAD, Uploads

_OLD: Final = 3600.0
"""Seconds after which another process is assumed to have been killed while it created a bucket."""


class Leftovers:
    """Finds and removes leftovers; all methods block."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._uploads = Uploads(disk)

    def settle(self) -> None:
        """Open or delete every upload that is in between; remove temporary files."""
        for bucket in self._disk.bucket_names():
            folder = self._disk.bucket(bucket)
            for entry in list(os.scandir(folder / "uploads")):
                upload_id, _, step = entry.name.partition(".")
                upload = Path(entry.path)
                if step == "new":
                    self._disk.discard(upload)
                elif step == "aborting" or (step == "closing" and self._is_published(bucket, upload)):
                    self._uploads.drop(bucket, upload)
                else:
                    _remove_drafts(upload.rename(upload.with_name(upload_id)))
            _remove_drafts(folder / "objects")

    def empty_trash(self) -> None:
        """Remove deleted folders, also those that this process is deleting right now."""
        for entry in list(os.scandir(self._disk.trash)):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(".new") and time.time() - entry.stat().st_mtime < _OLD:
                    continue
            shutil.rmtree(entry.path, ignore_errors=True)

    def named_by_uploads(self, bucket: str) -> set[str]:
        """The content files that uploads name. To be read before the objects: completion moves content to those."""
        return self._uploads.all_content(bucket)

    def named_by_objects(self, bucket: str, names: Iterable[str]) -> set[str]:
        """The content files that these records of objects name."""
        folder = self._disk.bucket(bucket) / "objects"
        records = (read_record(folder / name) for name in names)
        return {extent.file for record in records if record is not None for extent in record.extents}

    def content_folders(self, bucket: str) -> list[Path]:
        """The folders of a bucket that hold content files."""
        return [Path(entry.path) for entry in os.scandir(self._disk.bucket(bucket) / "data")]

    def remove_content(self, folder: Path, named: Collection[str]) -> int:
        """Remove the content files in a folder that are not named and not of this process; give their bytes."""
        freed = 0
        for entry in list(os.scandir(folder)):
            if not entry.name.endswith(self._disk.mark) and f"{folder.name}/{entry.name}" not in named:
                freed += _remove(Path(entry.path))
        return freed

    def _is_published(self, bucket: str, folder: Path) -> bool:
        head = read_json(folder / HEAD)
        if head is None:
            return True
        parts = [file for _, file in self._uploads.read_parts(folder)]
        named = self._disk.content_of(bucket, head["object_id"])
        return bool(parts) and named.issuperset(parts)


def _remove_drafts(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(".new"):
            _remove(Path(entry.path))


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except (FileNotFoundError, PermissionError):
        return 0
    return size
