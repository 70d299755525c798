"""Presigned URLs for storages without a server of their own: signed with HMAC, expiring.

The query parameters have the names of AWS signature version 4, so clients read the lifetime of
such a URL as they read that of S3. The signature covers the method, the bucket, the object and
every other parameter; it is no AWS signature, and only `UrlSigner` verifies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

from persistence.errors import SignatureExpired, SignatureRefused
from persistence.objects.naming import check_bucket, check_expiry, check_object_id, check_part_number
from persistence.objects.protocol import PresignedPost

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_MD5_HEADER: Final = "content-md5;host"


@attrs.frozen
class SignedRequest:
    """What a verified URL or form allows: one call on one object.

    Attributes:
        method: GET, PUT or POST.
        upload_id: the multipart upload, if a part is to be put, with `part_number`.
        file_name: what the answer's Content-Disposition must say.
        md5: the hex digest that the content must have.
        max_size: bytes that the content may have at most.
        expires_at: seconds since the epoch.
    """

    method: str
    bucket: str
    object_id: str
    upload_id: str | None = None
    part_number: int | None = None
    file_name: str | None = None
    md5: str | None = None
    max_size: int | None = None
    expires_at: float = 0.0


class UrlSigner:
    """Makes and verifies presigned URLs under a base URL.

    Args:
        base_url: where the server that verifies them stands, without a trailing slash.
        secret: the HMAC key, at least 16 bytes, the same for all processes that share the storage.
        clock: gives seconds since the epoch, such as `time.time`.
    """

    def __init__(self, base_url: str, secret: bytes, clock: Callable[[], float]) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of a UrlSigner needs at least 16 bytes")
        self.base_url = base_url.rstrip("/")
        self._path = unquote(urlsplit(self.base_url).path)
        self._secret = secret
        self._clock = clock

    def sign(
        self,
        method: str,
        bucket: str,
        object_id: str,
        *,
        expires: int,
        upload_id: str | None = None,
        part_number: int | None = None,
        file_name: str | None = None,
        md5: str | None = None,
    ) -> str:
        """The URL for one call, living `expires` seconds; arguments as in `SignedRequest`."""
        check_bucket(bucket)
        check_object_id(object_id)
        query = {"X-Amz-Date": self._now(), "X-Amz-Expires": str(check_expiry(expires))}
        if upload_id is not None:
            query["uploadId"] = upload_id
            query["partNumber"] = str(check_part_number(part_number or 0))
        if file_name is not None:
            query["response-content-disposition"] = content_disposition(file_name)
        if md5 is not None:
            query["X-Amz-SignedHeaders"] = _MD5_HEADER
        query["X-Amz-Signature"] = self._signature(method, bucket, object_id, query, (md5 or "").lower())
        return f"{self.base_url}/{bucket}/{quote(object_id)}?{urlencode(query, quote_via=quote)}"

    def sign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        """The form to POST an object of at most `max_size` bytes within `expires` seconds."""
        check_bucket(bucket)
        check_object_id(object_id)
        limits = {"until": int(self._clock()) + check_expiry(expires), "max_size": max_size}
        policy = base64.b64encode(json.dumps(limits).encode()).decode()
        fields = {"key": object_id, "policy": policy, "x-amz-date": self._now()}
        fields["x-amz-signature"] = self._signature("POST", bucket, object_id, fields, "")
        return PresignedPost(f"{self.base_url}/{bucket}", fields)

    def verify(
        self, method: str, path: str, query: Mapping[str, str], *, content_md5: str | None = None
    ) -> SignedRequest:
        """What a request to a presigned URL may do.

        Args:
            method: of the request; a URL for GET does not allow HEAD.
            path: of the request, with or without the path of the base URL.
            query: its decoded parameters.
            content_md5: the value of its Content-MD5 header (base64).

        Raises `SignatureRefused`, and `SignatureExpired` if only the time is over.
        """
        bucket, object_id = self._names(path)
        try:
            started = datetime.strptime(query["X-Amz-Date"], _STAMP).replace(tzinfo=UTC).timestamp()
            lifetime = int(query["X-Amz-Expires"])
            number = int(query["partNumber"]) if "partNumber" in query else None
            given = query["X-Amz-Signature"]
        except (KeyError, ValueError) as error:
            raise SignatureRefused(f"The URL of object {object_id!r} carries no complete signature.") from error
        md5 = _hex(content_md5) if query.get("X-Amz-SignedHeaders") == _MD5_HEADER else None
        rest = {name: value for name, value in query.items() if name != "X-Amz-Signature"}
        if not hmac.compare_digest(
            self._signature(method, bucket, object_id, rest, md5 or "").encode(), given.encode()
        ):
            raise SignatureRefused(f"The signature does not allow {method} of object {object_id!r}.")
        if self._clock() >= started + lifetime:
            raise SignatureExpired(f"The URL of object {object_id!r} has expired.", hint="Ask for a new one.")
        return SignedRequest(
            method,
            bucket,
            object_id,
            upload_id=query.get("uploadId"),
            part_number=number,
            file_name=_file_name(query.get("response-content-disposition")),
            md5=md5,
            expires_at=started + lifetime,
        )

    def verify_post(self, path: str, fields: Mapping[str, str]) -> SignedRequest:
        """What a posted form may do; errors as in `verify`. The caller holds the content to `max_size`."""
        bucket = self._relative(path)
        object_id = fields.get("key", "")
        rest = {name: fields[name] for name in ("key", "policy", "x-amz-date") if name in fields}
        expected = self._signature("POST", bucket, object_id, rest, "")
        if not hmac.compare_digest(expected.encode(), fields.get("x-amz-signature", "").encode()):
            raise SignatureRefused(f"The form does not allow to post object {object_id!r}.")
        limits = json.loads(base64.b64decode(fields["policy"]))
        if self._clock() >= limits["until"]:
            raise SignatureExpired(f"The form for object {object_id!r} has expired.", hint="Ask for a new one.")
        return SignedRequest("POST", bucket, object_id, max_size=limits["max_size"], expires_at=float(limits["until"]))

    def _now(self) -> str:
        return datetime.fromtimestamp(int(self._clock()), UTC).strftime(_STAMP)

    def _signature(self, method: str, bucket: str, object_id: str, query: Mapping[str, str], md5: str) -> str:
        signed = json.dumps([method, bucket, object_id, md5, sorted(query.items())])
        return hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest()

    def _relative(self, path: str) -> str:
        if self._path and path.startswith(f"{self._path}/"):
            path = path[len(self._path) :]
        return path.strip("/")

    def _names(self, path: str) -> tuple[str, str]:
        bucket, _, object_id = self._relative(path).partition("/")
        return bucket, object_id


def content_disposition(file_name: str) -> str:
    """The header that names a download, with a form for any characters (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file_name)
    header = f'attachment; filename="{plain}"'
    return header if plain == file_name else f"{header}; filename*=UTF-8''{quote(file_name, safe='')}"


def _file_name(disposition: str | None) -> str | None:
    if disposition is None:
        return None
    _, found, encoded = disposition.partition("filename*=UTF-8''")
    return unquote(encoded) if found else disposition.partition('filename="')[2].rstrip('"')


def _hex(content_md5: str | None) -> str:
    try:
        return base64.b64decode(content_md5 or "", validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
