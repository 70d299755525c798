"""Presigned URLs of the storages that are no servers themselves."""

from __future__ import annotations

from persistence.objects.naming import check_part_number, check_upload_id
from persistence.objects.protocol import ObjectStorage, PresignedPost
from persistence.objects.signing import UrlSigner


class SignedUrls(ObjectStorage):
    """The presigning half of a storage whose URLs are served, and verified, by somebody with the same signer."""

    signing: UrlSigner

    async def presign_get(self, bucket: str, object_id: str, *, expires: int, file_name: str | None = None) -> str:
        return self.signing.sign("GET", bucket, object_id, expires=expires, file_name=file_name)

    async def presign_put(self, bucket: str, object_id: str, *, expires: int) -> str:
        return self.signing.sign("PUT", bucket, object_id, expires=expires)

    async def presign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        return self.signing.sign_post(bucket, object_id, expires=expires, max_size=max_size)

    async def presign_part(
        self, bucket: str, object_id: str, upload_id: str, number: int, *, expires: int, md5: str | None = None
    ) -> str:
        check_upload_id(upload_id)
        check_part_number(number)
        return self.signing.sign(
            "PUT", bucket, object_id, expires=expires, upload_id=upload_id, part_number=number, md5=md5
        )
