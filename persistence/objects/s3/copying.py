"""Copies within an S3 server, without the content passing through here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio

from persistence.errors import PersistenceError
from persistence.objects.protocol import ObjectStat
from persistence.objects.s3.calls import Calls


class Copier:
    """Copies whole objects at once, and large ones or ranges of them in parts."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def copy(self, source: ObjectStat, bucket: str, object_id: str) -> None:
        """Copy a whole object."""
        if source.size > self._calls.settings.max_copy_size:
            await self.copy_parts(source, bucket, object_id, 0, source.size)
            return
        # A copy onto itself is refused unless it changes something.
        same = (source.bucket, source.object_id) == (bucket, object_id)
        more = {"MetadataDirective": "REPLACE"} if same else {}
        await self._calls.api(
            "copy_object",
            self._calls.target(bucket, object_id),
            Bucket=bucket,
            Key=object_id,
            CopySource={"Bucket": source.bucket, "Key": source.object_id},
            **more,
        )

    async def copy_parts(self, source: ObjectStat, bucket: str, object_id: str, start: int, stop: int) -> None:
        """Copy the bytes `[start, stop)` by a multipart upload whose parts the server fills itself."""
        target = self._calls.target(bucket, object_id)
        answer = await self._calls.api("create_multipart_upload", target, Bucket=bucket, Key=object_id)
        upload: dict[str, Any] = {"Bucket": bucket, "Key": object_id, "UploadId": answer["UploadId"]}
        try:
            parts = []
            for number, (first, last) in enumerate(self._spans(start, stop), 1):
                answer = await self._calls.api(
                    "upload_part_copy",
                    target,
                    **upload,
                    PartNumber=number,
                    CopySource={"Bucket": source.bucket, "Key": source.object_id},
                    CopySourceRange=f"bytes={first}-{last - 1}",
                )
                parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            await self._calls.api("complete_multipart_upload", target, **upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with anyio.move_on_after(5, shield=True):
                with suppress(PersistenceError):
                    await self._calls.api("abort_multipart_upload", target, **upload)
            raise

    def _spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of a range; a last one below the minimum joins the one before."""
        size = self._calls.settings.copy_part_size
        starts = list(range(start, stop, size))
        if len(starts) > 1 and stop - starts[-1] < self._calls.settings.min_part_size:
            starts.pop()
        return list(zip(starts, [*starts[1:], stop], strict=True))
