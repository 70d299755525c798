"""Multipart uploads in folders: the blocking half, second part.

An open upload is a folder with one small file per part that names the part's content file.
Completion renames the folder first, so no part joins or leaves it any more, then publishes the
record; the content is not touched. A failure between puts it back; a crash leaves a closing folder,
which the next completion takes up, or the next abort. Whoever renames a folder has it: a completion
whose folder was taken by an abort withdraws the record it has published.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from persistence.errors import BucketNotFound, UploadNotFound
from persistence.objects.filesystem.disk import Disk
from persistence.objects.filesystem.records import Extent, Record, now, read_json, write_file
from persistence.objects.multipart import check_parts, multipart_etag
from persistence.objects.protocol import ObjectStat, PartStat, UploadRef

HEAD: Final = "upload.json"


class Uploads:
    """Open multipart uploads of a disk; all methods block."""

    def __init__(self, disk: Disk, *, min_part_size: int) -> None:
        self._disk = disk
        self._min_part_size = min_part_size

    def start(self, bucket: str, object_id: str) -> str:
        """Open an upload; `BucketNotFound`."""
        folder = self._disk.bucket(bucket) / "uploads"
        upload_id = secrets.token_hex(16)
        aside = folder / f"{upload_id}.new"
        aside.mkdir()
        head = json.dumps({"object_id": object_id, "started": now().isoformat()}).encode()
        try:
            write_file(aside / HEAD, head, durable=self._disk.durable)
            os.rename(aside, folder / upload_id)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return upload_id

    def exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        """Whether the upload is open; `BucketNotFound`."""
        try:
            self.check(bucket, object_id, upload_id)
        except UploadNotFound:
            return False
        return True

    def check(self, bucket: str, object_id: str, upload_id: str) -> Path:
        """The folder of an open upload; `BucketNotFound`, `UploadNotFound`."""
        folder = self._folder(bucket, upload_id)
        head = read_json(folder / HEAD)
        if head is None or head["object_id"] != object_id:
            self._disk.bucket(bucket)
            raise UploadNotFound(bucket, object_id, upload_id)
        return folder

    def add_part(self, bucket: str, object_id: str, upload_id: str, part: PartStat, content: Path) -> None:
        """Enter a written content file as a part; an earlier one of the same number is dropped."""
        path = self._folder(bucket, upload_id) / f"{part.number:05}.json"
        before = read_json(path)
        name = self._disk.content_name(content)
        entry = {"number": part.number, "size": part.size, "md5": part.etag, "file": name}
        try:
            write_file(path, json.dumps(entry).encode(), durable=self._disk.durable)
        except FileNotFoundError as error:
            raise UploadNotFound(bucket, object_id, upload_id) from error
        if before is not None:
            self._disk.drop_content(bucket, [Extent(before["file"], before["size"])])

    def parts(self, bucket: str, object_id: str, upload_id: str) -> list[PartStat]:
        """The stored parts by number; `UploadNotFound`."""
        folder = self.check(bucket, object_id, upload_id)
        return [part for part, _ in self.read_parts(folder)]

    def open_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        """Open uploads by object id and time; `BucketNotFound`."""
        found: list[UploadRef] = []
        for entry in os.scandir(self._disk.bucket(bucket) / "uploads"):
            head = None if "." in entry.name else read_json(Path(entry.path) / HEAD)
            if head is not None and object_id in (None, head["object_id"]):
                started = datetime.fromisoformat(head["started"])
                found.append(UploadRef(bucket, head["object_id"], entry.name, started))
        return sorted(found, key=lambda ref: (ref.object_id, ref.started, ref.upload_id))

    def complete(
        self, bucket: str, object_id: str, upload_id: str, expected_parts: int | None, expected_part_size: int | None
    ) -> ObjectStat:
        """Publish the object; errors as in the protocol."""
        closing = self._folder(bucket, f"{upload_id}.closing")
        if not closing.is_dir():
            folder = self.check(bucket, object_id, upload_id)
            self._check_parts(folder, bucket, object_id, upload_id, expected_parts, expected_part_size)
            self._rename(folder, closing, bucket, object_id, upload_id)
        head = read_json(closing / HEAD)
        if head is None or head["object_id"] != object_id:
            raise UploadNotFound(bucket, object_id, upload_id)
        try:
            # Once more: a part may have been replaced between the check and the rename.
            self._check_parts(closing, bucket, object_id, upload_id, expected_parts, expected_part_size)
            parts = self.read_parts(closing)
            record = Record(
                object_id,
                multipart_etag([part.etag for part, _ in parts]),
                now(),
                tuple(Extent(file, part.size) for part, file in parts),
            )
            stat = self._disk.publish(bucket, record)
        except Exception:
            # The disk may be full: open the upload again.
            self._rename(closing, self._folder(bucket, upload_id), bucket, object_id, upload_id)
            raise
        try:
            self._disk.discard(closing)
        except FileNotFoundError as error:
            # Aborted meanwhile, and its content with it; or another completion was faster, with the same record.
            if not all(self._disk.content(bucket, extent).is_file() for extent in record.extents):
                self._disk.forget(bucket, record)
                raise UploadNotFound(bucket, object_id, upload_id) from error
        return stat

    def abort(self, bucket: str, object_id: str, upload_id: str) -> None:
        """Drop an upload, also one that a crash left closing, and the content of its parts; `UploadNotFound`."""
        aborting = self._folder(bucket, f"{upload_id}.aborting")
        closing = self._folder(bucket, f"{upload_id}.closing")
        head = read_json(closing / HEAD)
        if head is not None and head["object_id"] == object_id:
            self._rename(closing, aborting, bucket, object_id, upload_id)
        else:
            folder = self.check(bucket, object_id, upload_id)
            self._rename(folder, aborting, bucket, object_id, upload_id)
        self.drop(bucket, aborting)

    def all_content(self, bucket: str) -> set[str]:
        """The content files of all uploads, also of those that are being completed right now."""
        folder = self._disk.bucket(bucket) / "uploads"
        with self._disk.renaming:
            ids = {entry.name.partition(".")[0] for entry in os.scandir(folder)}
        found: set[str] = set()
        for upload_id in ids:
            # It may be renamed while it is read, and back again where a completion fails.
            for name in (upload_id, f"{upload_id}.closing", upload_id):
                found.update(file for _, file in self.read_parts(folder / name))
        return found

    def drop(self, bucket: str, folder: Path) -> None:
        """Delete an upload's folder, and the content of its parts unless an object has it already."""
        head = read_json(folder / HEAD)
        named = self._disk.content_of(bucket, head["object_id"]) if head is not None else frozenset()
        parts = [Extent(file, part.size) for part, file in self.read_parts(folder)]
        self._disk.drop_content(bucket, [extent for extent in parts if extent.file not in named])
        self._disk.discard(folder)

    def _folder(self, bucket: str, name: str) -> Path:
        if "/" in name or "\\" in name or name.startswith("."):
            name = ".none"
        return self._disk.root / "buckets" / bucket / "uploads" / name

    def _rename(self, folder: Path, to: Path, bucket: str, object_id: str, upload_id: str) -> None:
        try:
            with self._disk.renaming:
                os.rename(folder, to)
        except FileNotFoundError as error:
            if not self._disk.has_bucket(bucket):
                raise BucketNotFound(bucket) from error
            raise UploadNotFound(bucket, object_id, upload_id) from error

    def _check_parts(
        self, folder: Path, bucket: str, object_id: str, upload_id: str, count: int | None, size: int | None
    ) -> None:
        check_parts(
            [part for part, _ in self.read_parts(folder)],
            upload=(bucket, object_id, upload_id),
            expected_parts=count,
            expected_part_size=size,
            min_part_size=self._min_part_size,
        )

    def read_parts(self, folder: Path) -> list[tuple[PartStat, str]]:
        try:
            names = sorted(name for name in os.listdir(folder) if name[:1].isdigit())
        except FileNotFoundError:
            return []
        entries = (read_json(folder / name) for name in names)
        return [(PartStat(e["number"], e["size"], e["md5"]), e["file"]) for e in entries if e is not None]
