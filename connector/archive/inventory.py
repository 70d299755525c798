"""All that an archive has about each file, put together from the listings of its database and of its hubs.

Every listing is sorted by the ids of files: documents have them as ids, objects and secrets begin with them. So the
listings are merged while they are read, and only one file's things are in memory at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Literal, TypeVar

import attrs

from connector.archive.database import Database
from connector.archive.hubs import Hub, Hubs
from connector.archive.models import FileUpload, Job, RegisteredFile, StoredSecret
from persistence.documents import Dao
from persistence.errors import NotFound

T = TypeVar("T")
D = TypeVar("D", FileUpload, RegisteredFile, Job, StoredSecret)
BucketRole = Literal["inbox", "permanent", "download"]
BUCKETS: tuple[BucketRole, ...] = ("inbox", "permanent", "download")


@attrs.frozen
class Place:
    """Where an object is, or a multipart upload if it has an id: hub, bucket and name."""

    hub: str
    bucket: BucketRole
    object_id: str
    upload_id: str | None = None


@attrs.frozen
class StoredObject:
    """An object of a hub and its size in bytes; of a multipart upload 0."""

    place: Place
    size: int = 0


Item = FileUpload | RegisteredFile | Job | StoredSecret | StoredObject


@attrs.frozen
class FileView:
    """What the archive has about one file: documents, secrets, objects, and multipart uploads."""

    file_id: str
    upload: FileUpload | None = None
    file: RegisteredFile | None = None
    job: Job | None = None
    secrets: tuple[StoredSecret, ...] = ()
    objects: tuple[StoredObject, ...] = ()

    @classmethod
    def of(cls, file_id: str, items: Iterable[Item]) -> FileView:
        """Sort the things of one file."""
        found = list(items)
        return cls(
            file_id,
            next((one for one in found if isinstance(one, FileUpload)), None),
            next((one for one in found if isinstance(one, RegisteredFile)), None),
            next((one for one in found if isinstance(one, Job)), None),
            tuple(one for one in found if isinstance(one, StoredSecret)),
            tuple(one for one in found if isinstance(one, StoredObject)),
        )


def owner_of(name: str) -> str:
    """The id of the file to which an object or a secret of this name belongs."""
    return name.partition(".")[0]


async def group_sorted(streams: Sequence[AsyncIterator[tuple[str, T]]]) -> AsyncIterator[tuple[str, list[T]]]:
    """Merge streams that are sorted by key: each key once, with its items of all streams.

    A stream that is not sorted everywhere (foreign names may be so) makes a key appear again.
    """
    heads: list[tuple[str, int, T]] = []
    for number, stream in enumerate(streams):
        async for key, item in stream:
            heads.append((key, number, item))
            break
    heap = [(key, number) for key, number, _ in heads]
    items = {number: item for _, number, item in heads}
    heapq.heapify(heap)
    current, gathered = None, list[T]()
    while heap:
        key, number = heapq.heappop(heap)
        if key != current:
            if current is not None:
                yield current, gathered
            current, gathered = key, []
        gathered.append(items.pop(number))
        async for following, item in streams[number]:
            items[number] = item
            heapq.heappush(heap, (following, number))
            break
    if current is not None:
        yield current, gathered


@attrs.frozen(eq=False)
class Inventory:
    """Lists and looks up what an archive has."""

    _database: Database
    _hubs: Hubs

    async def files(self) -> AsyncIterator[FileView]:
        """What there is about every file, in the order of their ids."""
        database = self._database
        streams: list[AsyncIterator[tuple[str, Item]]] = [
            self._documents(database.uploads, "id"),
            self._documents(database.files, "file_id"),
            self._documents(database.jobs, "id"),
            self._documents(database.secrets, "id"),
            *(self._objects(hub, bucket) for hub in self._hubs for bucket in BUCKETS),
            *(self._multipart_uploads(hub, bucket) for hub in self._hubs for bucket in BUCKETS),
        ]
        async for file_id, items in group_sorted(streams):
            yield FileView.of(file_id, items)

    async def look_again(self, view: FileView) -> FileView:
        """What there is now about a file: documents first, then what they and an earlier view name."""
        database, file_id = self._database, view.file_id
        upload, file, job = await self._documents_of(file_id)
        named = {document.secret_id for document in (upload, file) if document is not None and document.secret_id}
        secrets = []
        for secret_id in sorted({secret.id for secret in view.secrets} | named):
            with suppress(NotFound):
                secrets.append(await database.secrets.get_by_id(secret_id))
        places = {stored.place for stored in view.objects} | set(named_places(upload, file))
        objects = [await self._find(place) for place in sorted(places, key=repr) if place.hub in self._hubs]
        return FileView(file_id, upload, file, job, tuple(secrets), tuple(one for one in objects if one is not None))

    async def is_current(self, view: FileView) -> bool:
        """Whether the documents are still those of the view: then nothing was changed while the rest was looked up."""
        return await self._documents_of(view.file_id) == (view.upload, view.file, view.job)

    async def _documents_of(self, file_id: str) -> tuple[FileUpload | None, RegisteredFile | None, Job | None]:
        upload = job = None
        with suppress(NotFound):
            job = await self._database.jobs.get_by_id(file_id)
        with suppress(NotFound):
            upload = await self._database.uploads.get_by_id(file_id)
        return upload, await self._database.files.find_one({"file_id": file_id}), job

    async def is_secret_used(self, secret_id: str) -> bool:
        """Whether any document names a secret, whatever the secret's own name; reads all of them."""
        where = {"secret_id": secret_id}
        states = {"state": {"$nin": ["failed", "cancelled"]}}
        return (
            await self._database.files.find_one(where) is not None
            or await self._database.uploads.find_one(where | states) is not None
        )

    async def _find(self, place: Place) -> StoredObject | None:
        hub = self._hubs.get(place.hub)
        bucket = bucket_name(hub, place.bucket)
        if place.upload_id is not None:
            exists = await hub.storage.upload_exists(bucket, place.object_id, place.upload_id)
            return StoredObject(place) if exists else None
        with suppress(NotFound):
            return StoredObject(place, (await hub.storage.stat(bucket, place.object_id)).size)
        return None

    async def _documents(self, dao: Dao[D], key: str) -> AsyncIterator[tuple[str, Item]]:
        async for document in dao.find_all(sort=[key]):
            yield owner_of(getattr(document, key)), document

    async def _objects(self, hub: Hub, bucket: BucketRole) -> AsyncIterator[tuple[str, Item]]:
        async for stat in hub.storage.list_objects(bucket_name(hub, bucket)):
            yield owner_of(stat.object_id), StoredObject(Place(hub.alias, bucket, stat.object_id), stat.size)

    async def _multipart_uploads(self, hub: Hub, bucket: BucketRole) -> AsyncIterator[tuple[str, Item]]:
        for upload in await hub.storage.list_uploads(bucket_name(hub, bucket)):
            yield owner_of(upload.object_id), StoredObject(Place(hub.alias, bucket, upload.object_id, upload.upload_id))


def bucket_name(hub: Hub, bucket: BucketRole) -> str:
    """The name of a hub's bucket."""
    name: str = getattr(hub.buckets, bucket)
    return name


def named_places(upload: FileUpload | None, file: RegisteredFile | None) -> list[Place]:
    """Where documents say that there are objects and multipart uploads, whatever their state."""
    places = []
    if upload is not None:
        places.append(Place(upload.storage_alias, "inbox", upload.id))
        places.append(Place(upload.storage_alias, "inbox", upload.id, upload.upload_id))
        if upload.object_id is not None:
            places.append(Place(upload.storage_alias, "permanent", upload.object_id))
    if file is not None:
        places.append(Place(file.storage_alias, "permanent", file.object_id))
        if file.staged_id is not None:
            places.append(Place(file.storage_alias, "download", file.staged_id))
    return places
