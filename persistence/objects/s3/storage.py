"""The S3 provider: boto3 in threads, on both anyio backends."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import anyio

from persistence.errors import (
    BucketExists,
    BucketNotEmpty,
    BucketNotFound,
    InvalidRange,
    ObjectExists,
    ObjectNotFound,
    PersistenceError,
    ServiceRefused,
)
from persistence.objects.content import as_view, pieces
from persistence.objects.naming import check_bucket, check_object_id, check_prefix
from persistence.objects.paging import PagedIterator, nothing
from persistence.objects.protocol import Buffer, ObjectStat
from persistence.objects.s3.bodies import GuardedReader, GuardedWriter, StreamedBody
from persistence.objects.s3.calls import Calls
from persistence.objects.s3.copying import Copier
from persistence.objects.s3.failures import from_code
from persistence.objects.s3.settings import S3Settings
from persistence.objects.s3.urls import S3Urls

_BATCH: Final = 1000


class S3Storage(S3Urls):
    """Object storage on an S3 server.

    Every call runs in one of a bounded number of threads and ends with its deadline; a cancelled
    call returns at once and its thread's result is dropped. Presigning makes no network call.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._calls = Calls(settings)
        self._copier = Copier(self._calls)

    async def __aenter__(self) -> Self:
        await self._calls.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.close()

    async def bucket_exists(self, bucket: str) -> bool:
        check_bucket(bucket)
        try:
            await self._calls.api("head_bucket", self._calls.target(bucket), Bucket=bucket)
        except BucketNotFound:
            return False
        return True

    async def create_bucket(self, bucket: str) -> None:
        # Some servers answer 200 when the bucket exists and is one's own.
        if await self.bucket_exists(bucket):
            raise BucketExists(bucket)
        region = self._calls.settings.region
        more = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await self._calls.api("create_bucket", self._calls.target(bucket), Bucket=bucket, **more)

    async def delete_bucket(self, bucket: str, *, with_content: bool = False) -> None:
        check_bucket(bucket)
        target = self._calls.target(bucket)
        while ids := await self._some_ids(bucket):
            if not with_content:
                raise BucketNotEmpty(bucket)
            for error in (await self.delete_objects(bucket, ids)).values():
                raise error
        for upload in await self.list_uploads(bucket):
            await self.abort_upload(bucket, upload.object_id, upload.upload_id)
        await self._calls.api("delete_bucket", target, Bucket=bucket)

    async def list_buckets(self) -> list[str]:
        answer = await self._calls.api("list_buckets", self._calls.target())
        return sorted(entry["Name"] for entry in answer.get("Buckets", ()))

    async def object_exists(self, bucket: str, object_id: str) -> bool:
        try:
            await self.stat(bucket, object_id)
        except ObjectNotFound:
            return False
        return True

    def list_objects(self, bucket: str, *, prefix: str = "") -> AsyncIterator[ObjectStat]:
        check_bucket(bucket)
        check_prefix(prefix)

        async def page(token: str) -> tuple[list[ObjectStat], str | None]:
            more = {"ContinuationToken": token} if token else {}
            answer = await self._calls.api(
                "list_objects_v2", self._calls.target(bucket), Bucket=bucket, Prefix=prefix, **more
            )
            found = [
                ObjectStat(bucket, e["Key"], e["Size"], e["ETag"].strip('"'), e["LastModified"])
                for e in answer.get("Contents", ())
            ]
            return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

        return PagedIterator(page, "")

    async def delete_object(self, bucket: str, object_id: str) -> None:
        # S3 says nothing about a missing object.
        await self.stat(bucket, object_id)
        await self._calls.api("delete_object", self._calls.target(bucket, object_id), Bucket=bucket, Key=object_id)

    async def delete_objects(self, bucket: str, object_ids: Iterable[str]) -> dict[str, PersistenceError]:
        check_bucket(bucket)
        ids = list(dict.fromkeys(check_object_id(object_id) for object_id in object_ids))
        failed: dict[str, PersistenceError] = {}
        if not ids and not await self.bucket_exists(bucket):
            raise BucketNotFound(bucket)
        for start in range(0, len(ids), _BATCH):
            keys = [{"Key": object_id} for object_id in ids[start : start + _BATCH]]
            answer = await self._calls.api(
                "delete_objects", self._calls.target(bucket), Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
            )
            for entry in answer.get("Errors", ()):
                target = self._calls.target(bucket, entry["Key"])
                error = from_code(entry.get("Code", ""), entry.get("Message", ""), target)
                if isinstance(error, BucketNotFound):
                    raise error
                if not isinstance(error, ObjectNotFound):
                    failed[entry["Key"]] = error
        return failed

    async def copy_object(
        self,
        bucket: str,
        object_id: str,
        *,
        to_bucket: str,
        to_object_id: str,
        byte_range: tuple[int, int] | None = None,
    ) -> ObjectStat:
        check_bucket(to_bucket)
        check_object_id(to_object_id)
        stat = await self.stat(bucket, object_id)
        if byte_range is None:
            await self._copier.copy(stat, to_bucket, to_object_id)
        else:
            start, stop = byte_range
            if start < 0 or stop < start or start > stat.size:
                raise InvalidRange(bucket, object_id, start, stop, stat.size)
            stop = min(stop, stat.size)
            if stop - start <= self._calls.settings.part_size:
                # Servers copy ranges of large objects only, and between parts of a minimum size.
                content = bytearray(stop - start)
                await self.read_into(bucket, object_id, start, memoryview(content))
                return await self.put_object(to_bucket, to_object_id, content)
            await self._copier.copy_parts(stat, to_bucket, to_object_id, start, stop)
        return await self.stat(to_bucket, to_object_id)

    async def read_into(self, bucket: str, object_id: str, start: int, buffer: memoryview) -> int:
        check_bucket(bucket)
        check_object_id(object_id)
        if not buffer or start < 0:
            await self._check_start(bucket, object_id, start)
            return 0
        view = as_view(buffer)
        writer = GuardedWriter(view)
        target = self._calls.target(bucket, object_id, start=start)
        span = f"bytes={start}-{start + len(view) - 1}"

        def read(client: Any, _: Any) -> int:
            body = client.get_object(Bucket=bucket, Key=object_id, Range=span)["Body"]
            try:
                return writer.fill(body)
            finally:
                body.close()

        try:
            return await self._calls.run(read, target, deadline=self._transfer_deadline(len(view)))
        except InvalidRange:
            await self._check_start(bucket, object_id, start)
            return 0
        finally:
            writer.close()

    @asynccontextmanager
    async def open_range(
        self, bucket: str, object_id: str, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        check_bucket(bucket)
        check_object_id(object_id)
        if start < 0 or (stop is not None and stop <= start):
            stat = await self.stat(bucket, object_id)
            if start < 0 or start > stat.size or (stop is not None and stop < start):
                raise InvalidRange(bucket, object_id, start, stop, stat.size)
            yield nothing()
            return
        target = self._calls.target(bucket, object_id, start=start, stop=stop)
        span = f"bytes={start}-{'' if stop is None else stop - 1}"

        def open_body(client: Any, gone: Any) -> StreamedBody:
            body = StreamedBody(client.get_object(Bucket=bucket, Key=object_id, Range=span)["Body"])
            if gone.is_set():
                body.close()
            return body

        try:
            body = await self._calls.run(open_body, target)
        except InvalidRange:
            await self._check_start(bucket, object_id, start)
            yield nothing()
            return

        async def page(_: int) -> tuple[list[bytes], int | None]:
            piece = await self._calls.run(lambda _, gone: body.read(gone), target)
            return ([piece], 0) if piece else ([], None)

        try:
            yield PagedIterator(page, 0)
        finally:
            body.close()

    async def put_object(
        self, bucket: str, object_id: str, data: Buffer | AsyncIterable[bytes], *, overwrite: bool = True
    ) -> ObjectStat:
        check_bucket(bucket)
        check_object_id(object_id)
        if not overwrite and await self.object_exists(bucket, object_id):
            raise ObjectExists(bucket, object_id)
        if isinstance(data, bytes | bytearray | memoryview):
            await self._put(bucket, object_id, as_view(data), overwrite=overwrite)
        else:
            await self._put_stream(bucket, object_id, data, overwrite=overwrite)
        return await self.stat(bucket, object_id)

    async def _some_ids(self, bucket: str) -> list[str]:
        answer = await self._calls.api("list_objects_v2", self._calls.target(bucket), Bucket=bucket)
        return [entry["Key"] for entry in answer.get("Contents", ())]

    async def _check_start(self, bucket: str, object_id: str, start: int) -> None:
        stat = await self.stat(bucket, object_id)
        if not 0 <= start <= stat.size:
            raise InvalidRange(bucket, object_id, start, None, stat.size)

    async def _put(self, bucket: str, object_id: str, view: memoryview, *, overwrite: bool) -> None:
        target = self._calls.target(bucket, object_id)
        more = {} if overwrite else {"IfNoneMatch": "*"}

        def put(client: Any, gone: Any) -> None:
            client.put_object(Bucket=bucket, Key=object_id, Body=GuardedReader(view, gone), **more)

        try:
            await self._calls.run(put, target, deadline=self._transfer_deadline(len(view)))
        except ServiceRefused:
            if overwrite:
                raise
            # The server knows no conditional writes; that the object was not there was checked before.
            await self._put(bucket, object_id, view, overwrite=True)

    async def _put_stream(self, bucket: str, object_id: str, data: AsyncIterable[bytes], *, overwrite: bool) -> None:
        """One piece is put at once; with a second one the object becomes a multipart upload."""
        if not await self.bucket_exists(bucket):
            raise BucketNotFound(bucket)
        first: memoryview | None = None
        upload_id: str | None = None
        number = 0
        try:
            async for piece in pieces(data, self._calls.settings.part_size):
                if first is None:
                    first = piece
                    continue
                if upload_id is None:
                    upload_id = await self.start_upload(bucket, object_id)
                    await self.put_part(bucket, object_id, upload_id, 1, first)
                    number = 1
                number += 1
                await self.put_part(bucket, object_id, upload_id, number, piece)
            if upload_id is None:
                await self._put(bucket, object_id, first or memoryview(b""), overwrite=overwrite)
            else:
                await self.complete_upload(bucket, object_id, upload_id, expected_parts=number)
        except BaseException:
            if upload_id is not None:
                await self._drop_upload(bucket, object_id, upload_id)
            raise

    async def _drop_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        """Abort after a failure, for a short while even if cancelled; what is left, `list_uploads` shows."""
        with anyio.move_on_after(5, shield=True):
            with suppress(PersistenceError):
                await self.abort_upload(bucket, object_id, upload_id)
