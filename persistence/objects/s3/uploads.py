"""The S3 provider's multipart uploads and presigned URLs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from persistence.errors import ObjectNotFound
from persistence.objects.content import Content, gather
from persistence.objects.multipart import ExpectedParts, UploadKey, content_md5
from persistence.objects.protocol import ObjectStorage
from persistence.objects.s3.calls import Calls
from persistence.objects.s3.conditional import IF_NEW
from persistence.objects.values import Fields, Names, ObjectStat, PartStat, PresignedPost, UploadRef

_PAGE = 1000


class S3Uploads(ObjectStorage):
    """The half of the storage with uploads and URLs."""

    _calls: Calls

    async def _start_upload(self, names: Names) -> str:
        answer = await self._calls.api("create_multipart_upload", **key(names))
        upload_id: str = answer["UploadId"]
        return upload_id

    async def _put_part(self, upload: UploadKey, number: int, content: Content, md5: str | None) -> PartStat:
        # S3 must know the length, so a stream is gathered in memory.
        view = await gather(content)
        more = {} if md5 is None else {"ContentMD5": content_md5(md5)}
        part = await self._send_part(_arguments(upload), number, view, **more)
        return PartStat(number, len(view), part["ETag"].strip('"'))

    async def _list_parts(self, upload: UploadKey, first: int, limit: int | None) -> list[PartStat]:
        paging = {"MaxItems": limit, "PageSize": min(limit or _PAGE, _PAGE)}
        arguments = {**_arguments(upload), "PartNumberMarker": first - 1, "PaginationConfig": paging}
        entries = [
            entry for page in await self._calls.pages("list_parts", **arguments) for entry in page.get("Parts", ())
        ]
        # JuiceFS lists a part without its ETag while another call completes the upload.
        found = [PartStat(e["PartNumber"], e["Size"], e["ETag"].strip('"')) for e in entries if "ETag" in e]
        return sorted(found, key=lambda part: part.number)

    async def _list_uploads(self, bucket: str, object_id: str | None) -> list[UploadRef]:
        pages = await self._calls.pages("list_multipart_uploads", Bucket=bucket, Prefix=object_id or "")
        return [
            UploadRef(bucket, entry["Key"], entry["UploadId"], entry["Initiated"])
            for page in pages
            for entry in page.get("Uploads", ())
            if object_id in (None, entry["Key"])
        ]

    async def _complete_upload(self, upload: UploadKey, expected: ExpectedParts) -> ObjectStat:
        parts = await self._list_parts(upload, 1, None)
        expected.check(upload, parts)
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        await self._complete(_arguments(upload), listed)
        return await self._stat((upload.bucket, upload.object_id))

    async def _abort_upload(self, upload: UploadKey) -> None:
        try:
            await self._calls.api("abort_multipart_upload", **_arguments(upload))
        except ObjectNotFound as error:
            raise upload.not_found() from error

    async def _send_part(self, upload: dict[str, Any], number: int, view: memoryview, **more: Any) -> dict[str, Any]:
        """Store a part; returns what completion needs of it."""
        answer = await self._calls.send("upload_part", view, **upload, PartNumber=number, **more)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    @asynccontextmanager
    async def _multipart(
        self, names: Names, metadata: Mapping[str, Any], overwrite: bool = True
    ) -> AsyncIterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """An upload and the list of its parts, completed at the end of the block, aborted after a failure."""
        answer = await self._calls.api("create_multipart_upload", **key(names), **metadata)
        upload = {**key(names), "UploadId": answer["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            yield upload, parts
            await self._complete(upload, parts, overwrite=overwrite)
        except BaseException:
            await self._calls.clean_up("abort_multipart_upload", **upload)
            raise

    async def _complete(self, upload: dict[str, Any], parts: list[dict[str, Any]], *, overwrite: bool = True) -> None:
        condition = {} if overwrite else IF_NEW
        await self._calls.api("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, **condition)

    def _sign(self, method: str, names: Names, expires: int, query: Fields, headers: Fields) -> str:
        return self._calls.connection.presigner.sign(method, names, expires, query, headers)

    def _sign_post(self, names: Names, expires: int, max_size: int) -> PresignedPost:
        limits = {"Conditions": [["content-length-range", 0, max_size]], "ExpiresIn": expires}
        client = self._calls.connection.client
        form = client.generate_presigned_post(*names, **limits)
        tenant, _, bucket = names[0].rpartition(":")
        if tenant:
            # Ceph compares the name without the tenant with the policy, but needs the tenant in the URL.
            form["fields"] = client.generate_presigned_post(bucket, names[1], **limits)["fields"]
        return PresignedPost(form["url"], form["fields"])


def key(names: Names) -> dict[str, Any]:
    """The names of an object as arguments of boto3."""
    return {"Bucket": names[0], "Key": names[1]}


def _arguments(upload: UploadKey) -> dict[str, Any]:
    return {"Bucket": upload.bucket, "Key": upload.object_id, "UploadId": upload.upload_id}
