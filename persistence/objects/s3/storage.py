"""The S3 provider: boto3 in threads, on both anyio backends."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

from persistence.errors import (
    BucketExists,
    BucketNotEmpty,
    BucketNotFound,
    InvalidRange,
    ObjectNotFound,
    PersistenceError,
)
from persistence.objects.checked import Names
from persistence.objects.content import Content, pieces
from persistence.objects.naming import check_span
from persistence.objects.paging import PagedIterator
from persistence.objects.protocol import ObjectStat
from persistence.objects.s3.bodies import GuardedWriter, StreamedBody
from persistence.objects.s3.calls import Calls
from persistence.objects.s3.conditional import IF_NEW, ConditionalWrites
from persistence.objects.s3.copying import copy_parts, copy_whole, kept_metadata
from persistence.objects.s3.failures import Target, from_code
from persistence.objects.s3.settings import S3Settings, make_presigner
from persistence.objects.s3.uploads import S3Uploads

_BATCH: Final = 1000


class S3Storage(S3Uploads):
    """Object storage on an S3 server.

    Every call runs in one of a bounded number of threads and ends within its deadline; a cancelled call returns at
    once and the result of its thread is dropped. Presigning makes no network call.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._calls = Calls(settings)
        self._presigner = make_presigner(settings)
        self.min_part_size = settings.min_part_size

    async def __aenter__(self) -> Self:
        await self._calls.open()
        self._conditional = ConditionalWrites(self._calls)
        return self

    def _close(self) -> None:
        self._calls.close()

    async def list_buckets(self) -> list[str]:
        answer = await self._calls.api("list_buckets")
        return sorted(entry["Name"] for entry in answer.get("Buckets", ()))

    async def _bucket_exists(self, bucket: str) -> bool:
        try:
            await self._calls.api("head_bucket", Bucket=bucket)
        except BucketNotFound:
            return False
        return True

    async def _create_bucket(self, bucket: str) -> None:
        # Some servers answer 200 when the bucket exists and has the same owner.
        if await self._bucket_exists(bucket):
            raise BucketExists(bucket)
        region = self._calls.settings.region
        more = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await self._calls.api("create_bucket", Bucket=bucket, **more)

    async def _delete_bucket(self, bucket: str, with_content: bool) -> None:
        while found := (await self._calls.api("list_objects_v2", Bucket=bucket)).get("Contents"):
            if not with_content:
                raise BucketNotEmpty(bucket)
            for error in (await self._delete_objects(bucket, [entry["Key"] for entry in found])).values():
                raise error
        for upload in await self._list_uploads(bucket, None):
            await self.abort_upload(bucket, upload.object_id, upload.upload_id)
        await self._calls.api("delete_bucket", Bucket=bucket)

    async def _stat(self, names: Names) -> ObjectStat:
        answer = await self._calls.head(*names)
        return ObjectStat(*names, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"])

    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]:
        async def page(token: str) -> tuple[list[ObjectStat], str | None]:
            more = {"ContinuationToken": token} if token else {}
            answer = await self._calls.api("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            found = [
                ObjectStat(bucket, e["Key"], e["Size"], e["ETag"].strip('"'), e["LastModified"])
                for e in answer.get("Contents", ())
            ]
            return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

        return PagedIterator(page, "")

    async def _delete_object(self, names: Names) -> None:
        # S3 does not report a missing object.
        await self._calls.head(*names)
        await self._calls.api("delete_object", Bucket=names[0], Key=names[1])

    async def _delete_objects(self, bucket: str, object_ids: Sequence[str]) -> dict[str, PersistenceError]:
        failed: dict[str, PersistenceError] = {}
        if not object_ids and not await self._bucket_exists(bucket):
            raise BucketNotFound(bucket)
        for start in range(0, len(object_ids), _BATCH):
            keys = [{"Key": object_id} for object_id in object_ids[start : start + _BATCH]]
            answer = await self._calls.api("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for entry in answer.get("Errors", ()):
                target = Target(self._calls.settings.where, bucket, entry["Key"])
                error = from_code(entry.get("Code", ""), entry.get("Message", ""), target)
                if isinstance(error, BucketNotFound):
                    raise error
                if not isinstance(error, ObjectNotFound):
                    failed[entry["Key"]] = error
        return failed

    async def _copy_object(self, source: Names, target: Names, span: tuple[int, int | None] | None) -> ObjectStat:
        settings = self._calls.settings
        head = await self._calls.head(*source)
        kept = kept_metadata(head)
        start, stop = check_span(source, head["ContentLength"], *(span or (0, None)))
        if span is None and stop <= settings.max_copy_size:
            await copy_whole(self._calls, source, target, kept)
        elif span is not None and stop - start <= settings.part_size:
            # Servers copy ranges of large objects only, and between parts of a minimum size.
            content = memoryview(bytearray(stop - start))
            await self._read_into(source, start, content)
            await self._calls.send("put_object", content, Bucket=target[0], Key=target[1], **kept)
        else:
            await copy_parts(self._calls, source, target, (start, stop), kept)
        return await self._stat(target)

    async def _read_into(self, names: Names, start: int, view: memoryview) -> int:
        if not view:
            await self._check_start(names, start)
            return 0
        writer = GuardedWriter(view)
        wanted = _range(names, start, start + len(view))

        def read(client: Any, _: Any) -> int:
            body = client.get_object(**wanted)["Body"]
            try:
                return writer.fill(body)
            finally:
                body.close()

        try:
            return await self._calls.run(read, wanted, size=len(view))
        except InvalidRange:
            await self._check_start(names, start)
            return 0
        finally:
            writer.close()

    @asynccontextmanager
    async def _open_range(self, names: Names, start: int, stop: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        wanted = _range(names, start, stop)

        def open_body(client: Any, gone: Any) -> StreamedBody:
            body = StreamedBody(client.get_object(**wanted)["Body"])
            if gone.is_set():
                body.close()
            return body

        body: StreamedBody | None = None
        if stop != start:
            with suppress(InvalidRange):
                body = await self._calls.run(open_body, wanted)
        if body is None:
            await self._check_start(names, start)

        async def page(body: StreamedBody) -> tuple[list[bytes], StreamedBody | None]:
            piece = await self._calls.run(lambda _, gone: body.read(gone), wanted)
            return ([piece], body) if piece else ([], None)

        try:
            yield PagedIterator(page, body)
        finally:
            if body is not None:
                body.close()

    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat:
        if isinstance(content, memoryview):
            await self._put(names, content, overwrite)
        else:
            await self._put_stream(names, content, overwrite)
        return await self._stat(names)

    async def _put(self, names: Names, view: memoryview, overwrite: bool) -> None:
        if not overwrite:
            await self._conditional.require("put_object", names[0])
        await self._calls.send("put_object", view, Bucket=names[0], Key=names[1], **({} if overwrite else IF_NEW))

    async def _put_stream(self, names: Names, stream: AsyncIterable[bytes], overwrite: bool) -> None:
        """One piece is put at once; with a second one the object becomes a multipart upload."""
        if not await self._bucket_exists(names[0]):
            raise BucketNotFound(names[0])
        first: memoryview | None = None
        upload: dict[str, Any] | None = None
        parts: list[dict[str, Any]] = []
        try:
            async for piece in pieces(stream, self._calls.settings.part_size):
                if first is None:
                    first = piece
                    continue
                if upload is None:
                    if not overwrite:
                        await self._conditional.require("complete_multipart_upload", names[0])
                    upload = {"Bucket": names[0], "Key": names[1], "UploadId": await self._start_upload(names)}
                    parts.append(await self._send_part(upload, 1, first))
                parts.append(await self._send_part(upload, len(parts) + 1, piece))
            if upload is None:
                await self._put(names, first or memoryview(b""), overwrite)
            else:
                await self._complete(upload, parts, overwrite=overwrite)
        except BaseException:
            if upload is not None:
                await self._calls.clean_up("abort_multipart_upload", **upload)
            raise

    async def _check_start(self, names: Names, start: int) -> None:
        check_span(names, (await self._calls.head(*names))["ContentLength"], start, None)


def _range(names: Names, start: int, stop: int | None) -> dict[str, str]:
    return {"Bucket": names[0], "Key": names[1], "Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
