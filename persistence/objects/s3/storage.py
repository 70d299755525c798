"""The S3 provider: boto3 in threads, on both anyio backends."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from typing import Final, Self

from persistence import errors
from persistence.errors import PersistenceError
from persistence.objects.content import Content, pieces
from persistence.objects.naming import check_span
from persistence.objects.paging import PagedIterator
from persistence.objects.s3.bodies import StreamedBody
from persistence.objects.s3.calls import Calls
from persistence.objects.s3.conditional import IF_NEW, ConditionalWrites
from persistence.objects.s3.failures import Target, from_code
from persistence.objects.s3.settings import S3Settings
from persistence.objects.s3.uploads import S3Uploads, key
from persistence.objects.values import Names, ObjectStat

_BATCH: Final = 1000
_KEPT: Final = (
    ("ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition", "CacheControl", "Expires", "Metadata")
)  # fmt: skip
"""What a copy keeps of the answer to a HEAD, in the names of operations that create an object."""


class S3Storage(S3Uploads):
    """Object storage on an S3 server.

    Every call runs in one of a bounded number of threads and ends within its deadline; a cancelled call returns at
    once and the result of its thread is dropped. Presigning makes no network call.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._calls = Calls(settings)
        self.min_part_size = settings.min_part_size

    async def __aenter__(self) -> Self:
        await self._calls.open()
        self._conditional = ConditionalWrites(self._calls)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._calls.close()

    async def list_buckets(self) -> list[str]:
        answer = await self._calls.api("list_buckets")
        return sorted(entry["Name"] for entry in answer.get("Buckets", ()))

    async def _bucket_exists(self, bucket: str) -> bool:
        try:
            await self._calls.api("head_bucket", Bucket=bucket)
        except errors.BucketNotFound:
            return False
        return True

    async def _create_bucket(self, bucket: str) -> None:
        # Some servers answer 200 when the bucket exists and has the same owner.
        if await self._bucket_exists(bucket):
            raise errors.BucketExists(bucket)
        region = self._calls.settings.region
        more = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await self._calls.api("create_bucket", Bucket=bucket, **more)

    async def _delete_bucket(self, bucket: str, with_content: bool) -> None:
        while found := (await self._calls.api("list_objects_v2", Bucket=bucket)).get("Contents"):
            if not with_content:
                raise errors.BucketNotEmpty(bucket)
            for error in (await self._delete_objects(bucket, [entry["Key"] for entry in found])).values():
                raise error
        for upload in await self._list_uploads(bucket, None):
            await self.abort_upload(bucket, upload.object_id, upload.upload_id)
        await self._calls.api("delete_bucket", Bucket=bucket)

    async def _stat(self, names: Names) -> ObjectStat:
        answer = await self._calls.head(*names)
        # JuiceFS loses the ETag of an object that two calls complete at once.
        return ObjectStat(*names, answer["ContentLength"], answer.get("ETag", "").strip('"'), answer["LastModified"])

    def _list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ObjectStat]:
        async def page(token: str) -> tuple[list[ObjectStat], str | None]:
            more = {"ContinuationToken": token} if token else {}
            answer = await self._calls.api("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            found = [
                ObjectStat(bucket, e["Key"], e["Size"], e.get("ETag", "").strip('"'), e["LastModified"])
                for e in answer.get("Contents", ())
            ]
            return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

        return PagedIterator(page, "")

    async def _delete_object(self, names: Names) -> None:
        # S3 does not report a missing object.
        await self._calls.head(*names)
        await self._calls.api("delete_object", **key(names))

    async def _delete_objects(self, bucket: str, object_ids: Sequence[str]) -> dict[str, PersistenceError]:
        failed: dict[str, PersistenceError] = {}
        if not object_ids and not await self._bucket_exists(bucket):
            raise errors.BucketNotFound(bucket)
        for start in range(0, len(object_ids), _BATCH):
            keys = [{"Key": object_id} for object_id in object_ids[start : start + _BATCH]]
            answer = await self._calls.api("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for entry in answer.get("Errors", ()):
                target = Target(self._calls.settings.where, bucket, entry["Key"])
                error = from_code(entry.get("Code", ""), f"{entry.get('Code')}: {entry.get('Message', '')}", target)
                if isinstance(error, errors.BucketNotFound):
                    raise error
                if not isinstance(error, errors.ObjectNotFound):
                    failed[entry["Key"]] = error
        return failed

    async def _copy_object(self, source: Names, target: Names, span: tuple[int, int | None] | None) -> ObjectStat:
        settings = self._calls.settings
        head = await self._calls.head(*source)
        kept = {name: head[name] for name in _KEPT if head.get(name)}
        start, stop = check_span(source, head["ContentLength"], *(span or (0, None)))
        if span is None and stop <= settings.max_copy_size:
            # A copy onto itself is refused unless it replaces something.
            replaced = {"MetadataDirective": "REPLACE", **kept} if source == target else {}
            await self._calls.api("copy_object", **key(target), CopySource=key(source), **replaced)
        elif span is not None and stop - start <= settings.part_size:
            # Servers copy ranges of large objects only, and between parts of a minimum size.
            content = memoryview(bytearray(stop - start))
            await self._read_into(source, start, content)
            await self._calls.send("put_object", content, **key(target), **kept)
        else:
            async with self._multipart(target, kept) as (upload, parts):
                for number, (first, last) in enumerate(self._copied_spans(start, stop), 1):
                    span_of = {"CopySource": key(source), "CopySourceRange": f"bytes={first}-{last - 1}"}
                    answer = await self._calls.api("upload_part_copy", **upload, PartNumber=number, **span_of)
                    parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        return await self._stat(target)

    def _copied_spans(self, start: int, stop: int) -> Iterable[tuple[int, int]]:
        """The parts of a range; a last one below the minimum is joined to the one before."""
        starts = list(range(start, stop, self._calls.settings.copy_part_size))
        if len(starts) > 1 and stop - starts[-1] < self.min_part_size:
            starts.pop()
        return pairwise([*starts, stop])

    async def _read_into(self, names: Names, start: int, view: memoryview) -> int:
        with closing(_body(names, start, start + len(view))) as body:
            return await self._open(body, names, start, view) if view else await self._check_start(names, start)

    @asynccontextmanager
    async def _open_range(self, names: Names, start: int, stop: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        with closing(_body(names, start, stop)) as body:
            if start == stop:
                await self._check_start(names, start)
            else:
                await self._open(body, names, start, memoryview(b""))

            async def page(_: int) -> tuple[list[bytes], int | None]:
                piece = await self._calls.run(lambda *_: body.read(), body.wanted)
                return ([piece], 0) if piece else ([], None)

            yield PagedIterator(page, 0)

    async def _open(self, body: StreamedBody, names: Names, start: int, view: memoryview) -> int:
        try:
            return await self._calls.run(lambda client, _: body.open(client, view), body.wanted, size=len(view))
        except errors.InvalidRange:
            return await self._check_start(names, start)

    async def _check_start(self, names: Names, start: int) -> int:
        """Return 0, the bytes at the end of an object, or raise `InvalidRange` if the offset lies behind it."""
        check_span(names, (await self._calls.head(*names))["ContentLength"], start, None)
        return 0

    async def _put_object(self, names: Names, content: Content, overwrite: bool) -> ObjectStat:
        if isinstance(content, memoryview):
            await self._put(names, content, overwrite)
        else:
            await self._put_stream(names, content, overwrite)
        return await self._stat(names)

    async def _put(self, names: Names, view: memoryview, overwrite: bool) -> None:
        if not overwrite:
            await self._conditional.require("put_object", names[0])
        await self._calls.send("put_object", view, **key(names), **({} if overwrite else IF_NEW))

    async def _put_stream(self, names: Names, stream: AsyncIterable[bytes], overwrite: bool) -> None:
        """One piece is put at once; with a second one the object becomes a multipart upload."""
        if not await self._bucket_exists(names[0]):
            raise errors.BucketNotFound(names[0])
        rest = pieces(stream, self._calls.settings.part_size)
        first, second = await anext(rest, memoryview(b"")), await anext(rest, None)
        if second is None:
            return await self._put(names, first, overwrite)
        if not overwrite:
            await self._conditional.require("complete_multipart_upload", names[0])
        async with self._multipart(names, {}, overwrite) as (upload, parts):
            for piece in (first, second):
                parts.append(await self._send_part(upload, len(parts) + 1, piece))
            async for piece in rest:
                parts.append(await self._send_part(upload, len(parts) + 1, piece))


def _body(names: Names, start: int, stop: int | None) -> StreamedBody:
    return StreamedBody({**key(names), "Range": f"bytes={start}-{'' if stop is None else stop - 1}"})
