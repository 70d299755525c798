"""Buckets and objects in folders: the blocking half of the filesystem provider.

    ROOT/buckets/BUCKET/objects/NAME.json    records
    ROOT/buckets/BUCKET/data/...             content files
    ROOT/buckets/BUCKET/uploads/UPLOAD_ID/   open multipart uploads
    ROOT/trash/                              what is being deleted
    ROOT/writers.lock                        locked by every process that writes

Several processes may work on one root: every change becomes visible by a rename.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

from persistence import errors
from persistence.objects.filesystem.content_files import ContentWriter
from persistence.objects.filesystem.file_names import bucket_of_folder, file_name, folder_name
from persistence.objects.filesystem.records import Extent, NotSynced, Record, read_record, write_record
from persistence.objects.naming import check_span
from persistence.objects.values import Names, ObjectStat, Span, now

if sys.platform != "win32":
    import fcntl


class Disk:
    """Objects below one root folder; all methods block."""

    def __init__(self, root: Path, *, durable: bool, platform: str = sys.platform) -> None:
        self.root = root
        self.durable = durable
        self._platform = platform
        self._buckets = root / "buckets"
        self.trash = root / "trash"
        self._writers: int | None = None
        # Held while the folder of an upload is renamed, so that a listing of all of them misses none.
        self.renaming = Lock()
        # Held while a record is replaced, so that the content of the one before is deleted once.
        self._exchange = Lock()

    def prepare(self) -> None:
        """Create the folders of the root."""
        self._buckets.mkdir(parents=True, exist_ok=True)
        self.trash.mkdir(exist_ok=True)

    def lock_writers(self, *, exclusively: bool, without_locks: bool = True) -> bool:
        """Join the processes that write, until `close`; tells whether that is possible.

        Exclusively it is if there is no other one, until others are allowed again; otherwise one that is alone is
        waited for. On file systems without locks the answer is `without_locks`.
        """
        if self._writers is None:
            self._writers = os.open(self.root / "writers.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform != "win32" and self._platform != "win32":
            try:
                fcntl.flock(self._writers, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusively else fcntl.LOCK_SH)
                return True
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    return False
        return without_locks

    def close(self) -> None:
        """Leave the processes that write."""
        writers, self._writers = self._writers, None  # closed once, also if that fails: the number may be used again
        if writers is not None:
            os.close(writers)

    # Buckets

    def path(self, bucket: str) -> Path:
        """Where the folder of a bucket is, if it exists."""
        return self._buckets / folder_name(bucket)

    def bucket(self, bucket: str) -> Path:
        """The folder of a bucket; `BucketNotFound`."""
        folder = self.path(bucket)
        if not self.has_bucket(bucket):
            raise errors.BucketNotFound(bucket)
        return folder

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists."""
        return self.path(bucket).is_dir()

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket with all its folders at once; `BucketExists`."""
        # Its name differs from those of deleted folders, so that other processes do not remove it.
        aside = self.trash / f"{secrets.token_hex(16)}.new"
        for name in ("objects", "data", "uploads"):
            (aside / name).mkdir(parents=True)
        try:
            # The target is never an empty folder, so a bucket made meanwhile is not replaced.
            os.rename(aside, self.path(bucket))
        except OSError as error:
            if not self.has_bucket(bucket):
                raise
            raise errors.BucketExists(bucket) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def delete_bucket(self, bucket: str, with_content: bool) -> None:
        """Delete a bucket; `BucketNotEmpty` if it has objects and those are to be kept."""
        folder = self.bucket(bucket)
        if not with_content and next(self._record_files(folder), None) is not None:
            raise errors.BucketNotEmpty(bucket)
        self.discard(folder)

    def bucket_names(self) -> list[str]:
        """Names of all buckets, sorted."""
        return sorted(bucket_of_folder(entry.name) for entry in os.scandir(self._buckets) if entry.is_dir())

    # Objects

    def find(self, names: Names) -> Record:
        """The record of an object; `BucketNotFound`, `ObjectNotFound`."""
        record = read_record(self._record_path(*names))
        if record is None:
            self.bucket(names[0])
            raise errors.ObjectNotFound(*names)
        return record

    def records(self, bucket: str) -> Iterator[Record]:
        """The records of all objects that exist from the first step to the last; `BucketNotFound`."""
        for path in list(self._record_files(self.bucket(bucket))):
            if record := read_record(path):
                yield record

    def publish(self, bucket: str, record: Record, *, overwrite: bool = True) -> ObjectStat:
        """Make a record the valid one of its object and delete the content of the one before; `NotSynced`."""
        path = self._record_path(bucket, record.id)
        with self._exchange:
            before = read_record(path) if overwrite else None
            try:
                write_record(path, record, durable=self.durable, exclusive=not overwrite)
            except FileExistsError as error:
                raise errors.ObjectExists(bucket, record.id) from error
            except FileNotFoundError as error:
                raise errors.BucketNotFound(bucket) from error
        if before is not None:
            kept = {extent.file for extent in record.content}
            self.drop_content(bucket, [extent for extent in before.content if extent.file not in kept])
        return record.stat(bucket)

    def delete(self, names: Names) -> None:
        """Delete an object; `BucketNotFound`, `ObjectNotFound`."""
        with self._exchange:
            record = self.find(names)
            try:
                os.unlink(self._record_path(*names))
            except FileNotFoundError as error:
                raise errors.ObjectNotFound(*names) from error
        self.drop_content(names[0], record.content)

    def forget(self, bucket: str, record: Record) -> None:
        """Delete a record whose content is deleted, unless another one has replaced it."""
        path = self._record_path(bucket, record.id)
        with self._exchange:
            if read_record(path) == record:
                path.unlink(missing_ok=True)

    def content_of(self, bucket: str, object_id: str) -> frozenset[str]:
        """The content files that the record of an object names; none if there is no such object."""
        record = read_record(self._record_path(bucket, object_id))
        return frozenset() if record is None else frozenset(extent.file for extent in record.content)

    def copy(self, source: Names, target: Names, span: Span | None) -> ObjectStat:
        """Copy an object by hard links where the file system has them; a span of it by its bytes."""
        record = self.find(source)
        self.bucket(target[0])
        if span is not None:
            return self._copy_span(source, record, span, target)
        extents: list[Extent] = []
        try:
            for extent in record.content:
                copied = self.new_content(target[0])
                extents.append(Extent.of(copied, extent.size))
                self._link_or_copy(self.content(source[0], extent), copied)
            return self.publish(target[0], Record(target[1], record.etag, now(), tuple(extents)))
        except NotSynced:
            raise
        except BaseException as error:
            self.drop_content(target[0], extents)
            if isinstance(error, FileNotFoundError):
                raise errors.ObjectChanged(*source) from error
            raise

    def _copy_span(self, names: Names, record: Record, span: Span, to: Names) -> ObjectStat:
        """Copy a span of an object into one content file."""
        start, stop = check_span(names, record.size, *span)

        def publish(copy: ContentWriter) -> ObjectStat:
            return self.publish(to[0], Record(to[1], copy.md5, now(), (copy.extent,)))

        try:
            with ContentWriter(self.new_content(to[0]), self.durable) as writer:
                for extent, first, last in record.spans(start, stop):
                    with open(self.content(names[0], extent), "rb") as source:
                        source.seek(first)
                        while first < last and (piece := source.read(min(last - first, 1024**2))):
                            writer.write(memoryview(piece))
                            first += len(piece)
                return writer.finish(publish)
        except FileNotFoundError as error:
            raise errors.ObjectChanged(*names) from error

    # Content

    def new_content(self, bucket: str) -> Path:
        """A fresh path for a content file."""
        name = secrets.token_hex(16)
        return self.path(bucket) / "data" / name[:2] / name

    def content(self, bucket: str, extent: Extent) -> Path:
        """The path of a content file."""
        return self.path(bucket) / "data" / extent.file

    def drop_content(self, bucket: str, extents: Iterable[Extent]) -> None:
        """Delete content files; those that cannot be deleted now (open, on Windows; a failing disk) are left over."""
        for extent in extents:
            with contextlib.suppress(OSError):
                os.unlink(self.content(bucket, extent))

    def discard(self, folder: Path) -> None:
        """Delete a folder: it disappears in one step, its content soon after."""
        aside = self.trash / secrets.token_hex(16)
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _link_or_copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            # No hard links here, or no source, which this says again.
            shutil.copyfile(source, target)

    def _record_path(self, bucket: str, object_id: str) -> Path:
        return self.path(bucket) / "objects" / file_name(object_id)

    def _record_files(self, folder: Path) -> Iterator[Path]:
        return (path for path in (folder / "objects").iterdir() if not path.name.startswith("."))
