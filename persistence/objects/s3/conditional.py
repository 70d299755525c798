"""Which conditional writes a server honours: `If-None-Match: *` on PutObject and on CompleteMultipartUpload.

Servers that do not know the header ignore it and overwrite, so it takes a trial to find out.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal, TypeAlias

import anyio

from persistence.errors import NotSupported, ObjectExists, Rejected
from persistence.objects.s3.calls import Calls

Operation: TypeAlias = Literal["put_object", "complete_multipart_upload"]

IF_NEW: Final = {"IfNoneMatch": "*"}
_DECLARED: Final[dict[str, set[Operation]]] = {
    "all": {"put_object", "complete_multipart_upload"},
    "put": {"put_object"},
    "none": set(),
}


class ConditionalWrites:
    """What a server honours, as the settings declare it, or found out once with an object that is deleted again."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = anyio.Lock()
        settings = calls.settings
        # Amazon documents both.
        declared = "all" if settings.endpoint_url is None else settings.conditional_writes
        self._honoured = _DECLARED.get(declared)

    async def require(self, operation: Operation, bucket: str) -> None:
        """Raise `NotSupported` unless the server honours the header on an operation."""
        async with self._lock:
            if self._honoured is None:
                self._honoured = await self._probe(bucket)
        if operation not in self._honoured:
            hint = "Nothing was sent; put the object with overwrite=True."
            raise NotSupported(f"{self._calls.settings.where} does not honour If-None-Match on {operation}.", hint=hint)

    async def _probe(self, bucket: str) -> set[Operation]:
        names = {"Bucket": bucket, "Key": f"conditional-write-probe-{secrets.token_hex(8)}"}
        honoured: set[Operation] = set()
        try:
            await self._calls.api("put_object", **names)
            if await self._is_refused("put_object", **names):
                honoured.add("put_object")
            started = await self._calls.api("create_multipart_upload", **names)
            upload = {**names, "UploadId": started["UploadId"]}
            try:
                part = await self._calls.api("upload_part", **upload, PartNumber=1, Body=b"")
                parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
                if await self._is_refused("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}):
                    honoured.add("complete_multipart_upload")
            finally:
                await self._calls.clean_up("abort_multipart_upload", **upload)
        finally:
            await self._calls.clean_up("delete_object", **names)
        return honoured

    async def _is_refused(self, operation: Operation, **arguments: Any) -> bool:
        try:
            await self._calls.api(operation, **arguments, **IF_NEW)
        except (ObjectExists, Rejected) as error:
            return isinstance(error, ObjectExists)  # otherwise the header itself is refused
        return False
