"""Multipart uploads in folders: the blocking half, second part.

An open upload is a folder with one small file per part that names the part's content file. Completion first renames
the folder, so that no part is added or removed any more, then publishes the record; the content is not touched. After
a failure the folder is renamed back; after a crash, or if the published record could not be synced, it is left in the
state `closing`, and the next completion or abort takes it over. The call that renames a folder owns it: a completion
whose folder was taken by an abort withdraws the record that it has published.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from persistence.errors import BucketNotFound
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import Extent, NotSynced, Record, read_json, write_file
from persistence.objects.multipart import ExpectedParts, UploadKey, multipart_etag
from persistence.objects.values import Names, ObjectStat, PartStat, UploadRef, now

HEAD: Final = "upload.json"


class Uploads:
    """Open multipart uploads of a disk; all methods block."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def start(self, names: Names) -> str:
        """Open an upload; `BucketNotFound`."""
        folder = self._disk.bucket(names[0]) / "uploads"
        upload_id = secrets.token_hex(16)
        aside = folder / f"{upload_id}.new"
        aside.mkdir()
        head = json.dumps({"object_id": names[1], "started": now().isoformat()}).encode()
        try:
            write_file(aside / HEAD, head, durable=self._disk.durable)
            os.rename(aside, folder / upload_id)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return upload_id

    def check(self, upload: UploadKey) -> Path:
        """The folder of an open upload; `BucketNotFound`, `UploadNotFound`."""
        folder = self._folder(upload)
        if not _belongs(folder, upload):
            self._disk.bucket(upload.bucket)
            raise upload.not_found()
        return folder

    def add_part(self, upload: UploadKey, part: PartStat, file: str) -> None:
        """Enter a written content file as a part; the content of an earlier one of its number is deleted."""
        path = self._folder(upload) / f"{part.number:05}.json"
        before = read_json(path)
        entry = {"number": part.number, "size": part.size, "md5": part.etag, "file": file}
        try:
            write_file(path, json.dumps(entry).encode(), durable=self._disk.durable)
        except FileNotFoundError as error:
            raise upload.not_found() from error
        if before is not None:
            self._disk.drop_content(upload.bucket, [Extent(before["file"], before["size"])])

    def parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]:
        """The stored parts by number, from `first` on, at most `limit`; `UploadNotFound`."""
        return [part for part, _ in self.read_parts(self.check(upload), first, limit)]

    def open_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        """Open uploads, those included whose completion a crash has cut off; `BucketNotFound`."""
        found: list[UploadRef] = []
        for entry in os.scandir(self._disk.bucket(bucket) / "uploads"):
            upload_id, _, step = entry.name.partition(".")
            head = read_json(Path(entry.path) / HEAD) if step in ("", "closing") else None
            if head is not None and object_id in (None, head["object_id"]):
                started = datetime.fromisoformat(head["started"])
                found.append(UploadRef(bucket, head["object_id"], upload_id, started))
        return found

    def complete(self, upload: UploadKey, expected: ExpectedParts) -> ObjectStat:
        """Publish the object; errors as in the protocol."""
        closing = self._folder(upload, ".closing")
        if not closing.is_dir():
            folder = self.check(upload)
            expected.check(upload, [part for part, _ in self.read_parts(folder)])
            self._rename(folder, closing, upload)
        if not _belongs(closing, upload):
            raise upload.not_found()
        try:
            stored = self.read_parts(closing)
            parts = [part for part, _ in stored]
            # Again: a part may have been replaced between the check and the rename.
            expected.check(upload, parts)
            extents = tuple(Extent(file, part.size) for part, file in stored)
            record = Record(upload.object_id, multipart_etag(parts), now(), extents)
            stat = self._disk.publish(upload.bucket, record)
        except NotSynced:
            # Published: in an open upload, a part could be replaced whose content the object has.
            raise
        except Exception:
            # The disk may be full: open the upload again.
            self._rename(closing, self._folder(upload), upload)
            raise
        try:
            self._disk.discard(closing)
        except FileNotFoundError as error:
            # Aborted meanwhile, its content included; or another completion was faster, with the same record.
            if not all(self._disk.content(upload.bucket, extent).is_file() for extent in record.content):
                self._disk.forget(upload.bucket, record)
                raise upload.not_found() from error
        return stat

    def abort(self, upload: UploadKey) -> None:
        """Delete an upload and the content of its parts, also one that a crash left closing; `UploadNotFound`."""
        aborting, closing = self._folder(upload, ".aborting"), self._folder(upload, ".closing")
        self._rename(closing if _belongs(closing, upload) else self.check(upload), aborting, upload)
        self.drop(upload.bucket, aborting)

    def all_content(self, bucket: str) -> set[str]:
        """The content files of all uploads, also of those that are being completed right now."""
        folder = self._disk.bucket(bucket) / "uploads"
        with self._disk.renaming:
            ids = {entry.name.partition(".")[0] for entry in os.scandir(folder)}
        # It may be renamed while it is read, and back again where a completion fails.
        names = [name for upload_id in ids for name in (upload_id, f"{upload_id}.closing", upload_id)]
        return {file for name in names for _, file in self.read_parts(folder / name)}

    def drop(self, bucket: str, folder: Path) -> None:
        """Delete an upload's folder, and the content of its parts unless it belongs to an object by now."""
        head = read_json(folder / HEAD)
        named = self._disk.content_of(bucket, head["object_id"]) if head is not None else frozenset()
        parts = [Extent(file, part.size) for part, file in self.read_parts(folder)]
        self._disk.drop_content(bucket, [extent for extent in parts if extent.file not in named])
        self._disk.discard(folder)

    def read_parts(self, folder: Path, first: int = 1, limit: int | None = None) -> list[tuple[PartStat, str]]:
        """Parts and their content files, by number; none if there is no such folder."""
        try:
            names = sorted(name for name in os.listdir(folder) if name[:1].isdigit() and name >= f"{first:05}")
        except FileNotFoundError:
            return []
        entries = (read_json(folder / name) for name in names[:limit])
        return [(PartStat(e["number"], e["size"], e["md5"]), e["file"]) for e in entries if e is not None]

    def _folder(self, upload: UploadKey, state: str = "") -> Path:
        # An id with a dot could name the state of another upload.
        name = ".none" if "." in upload.upload_id else upload.upload_id
        return self._disk.path(upload.bucket) / "uploads" / f"{name}{state}"

    def _rename(self, folder: Path, to: Path, upload: UploadKey) -> None:
        try:
            with self._disk.renaming:
                os.rename(folder, to)
        except FileNotFoundError as error:
            if not self._disk.has_bucket(upload.bucket):
                raise BucketNotFound(upload.bucket) from error
            raise upload.not_found() from error


def _belongs(folder: Path, upload: UploadKey) -> bool:
    """Whether the folder is that of an upload for this object."""
    head: Any = read_json(folder / HEAD)
    return head is not None and head["object_id"] == upload.object_id
