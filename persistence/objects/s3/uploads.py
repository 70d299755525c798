"""The S3 provider's multipart uploads, and what they share with single objects."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable
from typing import Any, Final

from persistence.errors import ObjectNotFound, UploadNotFound
from persistence.objects.content import gather
from persistence.objects.multipart import check_parts
from persistence.objects.naming import check_bucket, check_object_id, check_part_number, check_upload_id
from persistence.objects.protocol import Buffer, ObjectStat, ObjectStorage, PartStat, UploadRef
from persistence.objects.s3.bodies import GuardedReader
from persistence.objects.s3.calls import Calls

_SLOWEST: Final = 1024**2
"""Bytes per second below which moving content counts as hanging."""


class S3Uploads(ObjectStorage):
    """Multipart uploads on an S3 server."""

    _calls: Calls

    async def stat(self, bucket: str, object_id: str) -> ObjectStat:
        check_bucket(bucket)
        check_object_id(object_id)
        target = self._calls.target(bucket, object_id)
        try:
            answer = await self._calls.api("head_object", target, Bucket=bucket, Key=object_id)
        except ObjectNotFound as error:
            raise await self._calls.which_is_missing(bucket, object_id) from error
        etag = answer["ETag"].strip('"')
        return ObjectStat(bucket, object_id, answer["ContentLength"], etag, answer["LastModified"])

    async def start_upload(self, bucket: str, object_id: str) -> str:
        check_bucket(bucket)
        check_object_id(object_id)
        target = self._calls.target(bucket, object_id)
        answer = await self._calls.api("create_multipart_upload", target, Bucket=bucket, Key=object_id)
        upload_id: str = answer["UploadId"]
        return upload_id

    async def put_part(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        number: int,
        data: Buffer | AsyncIterable[bytes],
        *,
        md5: str | None = None,
    ) -> PartStat:
        target = self._target(bucket, object_id, upload_id)
        check_part_number(number)
        view = await gather(data)
        more = {} if md5 is None else {"ContentMD5": base64.b64encode(bytes.fromhex(md5)).decode()}

        def put(client: Any, gone: Any) -> str:
            answer = client.upload_part(
                Bucket=bucket,
                Key=object_id,
                UploadId=upload_id,
                PartNumber=number,
                Body=GuardedReader(view, gone),
                **more,
            )
            etag: str = answer["ETag"].strip('"')
            return etag

        etag = await self._calls.run(put, target, deadline=self._transfer_deadline(len(view)))
        return PartStat(number, len(view), etag)

    async def upload_exists(self, bucket: str, object_id: str, upload_id: str) -> bool:
        target = self._target(bucket, object_id, upload_id)
        try:
            await self._calls.api("list_parts", target, Bucket=bucket, Key=object_id, UploadId=upload_id, MaxParts=1)
        except UploadNotFound:
            return False
        return True

    async def list_parts(self, bucket: str, object_id: str, upload_id: str) -> list[PartStat]:
        target = self._target(bucket, object_id, upload_id)
        found: list[PartStat] = []
        marker: dict[str, Any] = {}
        while True:
            answer = await self._calls.api(
                "list_parts", target, Bucket=bucket, Key=object_id, UploadId=upload_id, **marker
            )
            found += [
                PartStat(entry["PartNumber"], entry["Size"], entry["ETag"].strip('"'))
                for entry in answer.get("Parts", ())
            ]
            if not answer.get("IsTruncated"):
                return sorted(found, key=lambda part: part.number)
            marker = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    async def list_uploads(self, bucket: str, object_id: str | None = None) -> list[UploadRef]:
        check_bucket(bucket)
        more: dict[str, Any] = {} if object_id is None else {"Prefix": check_object_id(object_id)}
        found: list[UploadRef] = []
        while True:
            answer = await self._calls.api("list_multipart_uploads", self._calls.target(bucket), Bucket=bucket, **more)
            found += [
                UploadRef(bucket, entry["Key"], entry["UploadId"], entry["Initiated"])
                for entry in answer.get("Uploads", ())
                if object_id in (None, entry["Key"])
            ]
            if not answer.get("IsTruncated"):
                return sorted(found, key=lambda ref: (ref.object_id, ref.started, ref.upload_id))
            more |= {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    async def complete_upload(
        self,
        bucket: str,
        object_id: str,
        upload_id: str,
        *,
        expected_parts: int | None = None,
        expected_part_size: int | None = None,
    ) -> ObjectStat:
        parts = await self.list_parts(bucket, object_id, upload_id)
        check_parts(
            parts,
            upload=(bucket, object_id, upload_id),
            expected_parts=expected_parts,
            expected_part_size=expected_part_size,
            min_part_size=self._calls.settings.min_part_size,
        )
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        await self._calls.api(
            "complete_multipart_upload",
            self._target(bucket, object_id, upload_id),
            Bucket=bucket,
            Key=object_id,
            UploadId=upload_id,
            MultipartUpload={"Parts": listed},
        )
        return await self.stat(bucket, object_id)

    async def abort_upload(self, bucket: str, object_id: str, upload_id: str) -> None:
        target = self._target(bucket, object_id, upload_id)
        try:
            await self._calls.api("abort_multipart_upload", target, Bucket=bucket, Key=object_id, UploadId=upload_id)
        except ObjectNotFound as error:
            raise UploadNotFound(bucket, object_id, upload_id) from error

    def _target(self, bucket: str, object_id: str, upload_id: str) -> Any:
        check_bucket(bucket)
        check_object_id(object_id)
        check_upload_id(upload_id)
        return self._calls.target(bucket, object_id, upload_id)

    def _transfer_deadline(self, size: int) -> float:
        """Seconds for moving so many bytes: the deadline of a call, and more for much content."""
        return self._calls.settings.deadline + size / _SLOWEST
