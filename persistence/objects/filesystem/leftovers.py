"""Leftovers of killed processes: half-done uploads, temporary files, content that no record names."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import ST_CTIME, ST_MTIME
from typing import Final

from persistence.errors import BucketNotFound
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import read_json
from persistence.objects.filesystem.uploads import HEAD, Uploads

_OLD: Final = 3600.0
"""Seconds after which another process is assumed to have been killed while it created a bucket or wrote content."""


class Leftovers:
    """Finds and removes leftovers; all methods block."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._uploads = Uploads(disk)
        self._earlier: dict[str, list[Path]] = {}

    def settle(self) -> bool:
        """Open or delete every upload that is in between, remove temporary files, and note the content that is there.

        Only if no other process writes; tells whether that is so.
        """
        try:
            if alone := self._disk.lock_writers(exclusively=True):
                self._settle_buckets()
            return alone
        finally:
            self._disk.lock_writers(exclusively=False)

    def _settle_buckets(self) -> None:
        for bucket in self._disk.bucket_names():
            folder = self._disk.bucket(bucket)
            for upload in list((folder / "uploads").iterdir()):
                upload_id, _, step = upload.name.partition(".")
                if step == "new":
                    self._disk.discard(upload)
                elif step == "aborting" or (step == "closing" and self._is_published(bucket, upload)):
                    self._uploads.drop(bucket, upload)
                else:
                    _remove_drafts(upload.rename(upload.with_name(upload_id)))
            _remove_drafts(folder / "objects")
            self._earlier[bucket] = list((folder / "data").glob("*/*"))

    def empty_trash(self) -> None:
        """Remove deleted folders, also those that this process is deleting right now."""
        for entry in list(os.scandir(self._disk.trash)):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(".new") and time.time() - entry.stat().st_mtime < _OLD:
                    continue
            shutil.rmtree(entry.path, ignore_errors=True)

    def remove_content(self, bucket: str) -> Iterator[int]:
        """Remove the content files of a bucket that were there when it was settled and that nothing names.

        Yields the bytes of each file removed, and 0 for everything else that was looked at.
        """
        for path in self._unnamed(bucket, self._earlier.pop(bucket, [])):
            yield 0 if path is None else _remove(path)

    def find_content(self, bucket: str) -> Iterator[Path | None]:
        """Content files of a bucket that nothing names; None for everything else that was looked at.

        Where a process writes, or may do so, those only that have not changed for an hour.
        """
        # A lock of its own, which that of this process keeps out, too.
        with contextlib.closing(Disk(self._disk.root, durable=False)) as disk:
            alone = disk.lock_writers(exclusively=True, without_locks=False)
            files = list((disk.bucket(bucket) / "data").glob("*/*"))
        for path in self._unnamed(bucket, files):
            with contextlib.suppress(FileNotFoundError):
                # The later of the times when it was written and when it was linked.
                if path is None or alone or time.time() - max(path.stat()[ST_MTIME], path.stat()[ST_CTIME]) > _OLD:
                    yield path

    def _unnamed(self, bucket: str, files: Iterable[Path]) -> Iterator[Path | None]:
        """Those of the content files that no object and no upload names; before them None for each object."""
        unnamed, data = set(files), self._disk.path(bucket) / "data"
        # A bucket may be deleted meanwhile.
        with contextlib.suppress(BucketNotFound, FileNotFoundError):
            # Twice: a folder that another process renames while it is listed may be missed, but not both times.
            for _ in range(2):
                if not unnamed:
                    return
                # Before the objects: completion moves content from uploads to those.
                unnamed.difference_update(data / file for file in self._uploads.all_content(bucket))
                for record in self._disk.records(bucket):
                    unnamed.difference_update(data / extent.file for extent in record.content)
                    yield None
            yield from unnamed

    def _is_published(self, bucket: str, folder: Path) -> bool:
        head, parts = read_json(folder / HEAD), [file for _, file in self._uploads.read_parts(folder)]
        return head is None or (bool(parts) and self._disk.content_of(bucket, head["object_id"]).issuperset(parts))


def _remove_drafts(folder: Path) -> None:
    for path in list(folder.glob(".*.new")):
        _remove(path)


def _remove(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        size = path.stat().st_size
        path.unlink()
        return size
    return 0
