"""Copies within an S3 server, which do not transfer the content to this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from persistence.objects.checked import Names
from persistence.objects.s3.calls import Calls
from persistence.objects.s3.settings import S3Settings

_KEPT: Final = (
    ("ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition", "CacheControl", "Expires", "Metadata")
)  # fmt: skip


def kept_metadata(head: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata in the answer to a HEAD, as arguments of operations that create an object."""
    return {name: head[name] for name in _KEPT if head.get(name)}


async def copy_whole(calls: Calls, source: Names, target: Names, metadata: Mapping[str, Any]) -> None:
    """Copy an object in one call; the server keeps the metadata."""
    # A copy onto itself is refused unless it replaces something.
    replaced = {"MetadataDirective": "REPLACE", **metadata} if source == target else {}
    copied = {"Bucket": source[0], "Key": source[1]}
    await calls.api("copy_object", Bucket=target[0], Key=target[1], CopySource=copied, **replaced)


async def copy_parts(
    calls: Calls, source: Names, target: Names, span: tuple[int, int], metadata: Mapping[str, Any]
) -> None:
    """Copy the bytes of a span by a multipart upload whose parts the server fills itself."""
    names = {"Bucket": target[0], "Key": target[1]}
    answer = await calls.api("create_multipart_upload", **names, **metadata)
    upload = {**names, "UploadId": answer["UploadId"]}
    copied = {"Bucket": source[0], "Key": source[1]}
    try:
        parts = []
        for number, (first, last) in enumerate(_spans(calls.settings, *span), 1):
            answer = await calls.api(
                "upload_part_copy",
                **upload,
                PartNumber=number,
                CopySource=copied,
                CopySourceRange=f"bytes={first}-{last - 1}",
            )
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        await calls.api("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
    except BaseException:
        await calls.clean_up("abort_multipart_upload", **upload)
        raise


def _spans(settings: S3Settings, start: int, stop: int) -> list[tuple[int, int]]:
    """The parts of a range; a last one below the minimum is joined to the one before."""
    starts = list(range(start, stop, settings.copy_part_size))
    if len(starts) > 1 and stop - starts[-1] < settings.min_part_size:
        starts.pop()
    return list(zip(starts, [*starts[1:], stop], strict=True))
