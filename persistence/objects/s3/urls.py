"""Presigned URLs of an S3 server."""

from __future__ import annotations

import base64
from typing import Any

from persistence.objects.naming import check_bucket, check_expiry, check_object_id, check_part_number, check_upload_id
from persistence.objects.protocol import PresignedPost
from persistence.objects.s3.uploads import S3Uploads
from persistence.objects.signing import content_disposition


class S3Urls(S3Uploads):
    """The presigning half of an S3 storage. It makes no network call."""

    async def presign_get(self, bucket: str, object_id: str, *, expires: int, file_name: str | None = None) -> str:
        query = {} if file_name is None else {"response-content-disposition": content_disposition(file_name)}
        return self._presign("GET", bucket, object_id, expires, query)

    async def presign_put(self, bucket: str, object_id: str, *, expires: int) -> str:
        return self._presign("PUT", bucket, object_id, expires, {})

    async def presign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        check_bucket(bucket)
        check_object_id(object_id)
        conditions = [["content-length-range", 0, max_size]]
        form = self._calls.client.generate_presigned_post(
            bucket, object_id, Conditions=conditions, ExpiresIn=check_expiry(expires)
        )
        return PresignedPost(form["url"], form["fields"])

    async def presign_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, *, expires: int, md5: str | None = None
    ) -> str:
        check_upload_id(upload_id)
        query = {"uploadId": upload_id, "partNumber": str(check_part_number(number))}
        headers = {} if md5 is None else {"content-md5": base64.b64encode(bytes.fromhex(md5)).decode()}
        return self._presign("PUT", bucket, object_id, expires, query, headers)

    def _presign(
        self,
        method: str,
        bucket: str,
        object_id: str,
        expires: int,
        query: dict[str, str],
        headers: dict[str, str] | None = None,
    ) -> str:
        check_bucket(bucket)
        check_object_id(object_id)
        check_expiry(expires)
        presigner = self._calls.presigner
        if presigner is not None:
            return presigner.sign(method, bucket, object_id, expires=expires, query=query, headers=headers)
        # Keys that boto3 found elsewhere may be renewed by it, so it must sign.
        parameters: dict[str, Any] = {"Bucket": bucket, "Key": object_id}
        names = {"response-content-disposition": "ResponseContentDisposition", "uploadId": "UploadId"}
        parameters |= {names[name]: value for name, value in query.items() if name in names}
        if "partNumber" in query:
            parameters["PartNumber"] = int(query["partNumber"])
        if headers:
            parameters["ContentMD5"] = headers["content-md5"]
        put = "upload_part" if "uploadId" in query else "put_object"
        operation = "get_object" if method == "GET" else put
        url: str = self._calls.client.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires)
        return url
