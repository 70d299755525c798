"""Presigned URLs of storages that are no servers: signed with HMAC, valid for a limited time.

The query parameters have the names of AWS signature version 4, so that clients find the lifetime of such a URL where
S3 has it. The signature covers the method, the bucket, the object and every other parameter. It is no AWS signature:
only `UrlSigner` verifies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

from persistence.errors import InvalidValue, SignatureExpired, SignatureRefused
from persistence.objects.naming import check_expiry, check_names
from persistence.objects.values import PresignedPost

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_MD5_HEADER: Final = "content-md5;host"


@attrs.frozen
class SignedRequest:
    """The one call on one object that a verified URL or form permits.

    Attributes:
        method: GET, PUT or POST.
        upload_id: the multipart upload, if a part is to be put, with `part_number`.
        file_name: for the Content-Disposition of the response.
        md5: the digest (hex) that the content must have.
        max_size: bytes that the content may have at most.
    """

    method: str
    bucket: str
    object_id: str
    upload_id: str | None = None
    part_number: int | None = None
    file_name: str | None = None
    md5: str | None = None
    max_size: int | None = None


class UrlSigner:
    """Makes and verifies presigned URLs under a base URL.

    Args:
        base_url: URL of the server that verifies them.
        secret: the HMAC key, at least 16 bytes, the same for all processes that share the storage. Where it changes
            while URLs are in use: a function that returns the current key and then the older ones that still hold.
        clock: gives seconds since the epoch, such as `time.time`.
    """

    def __init__(
        self, base_url: str, secret: bytes | Callable[[], Sequence[bytes]], clock: Callable[[], float]
    ) -> None:
        if isinstance(secret, bytes) and len(secret) < 16:
            raise ValueError("the secret of a UrlSigner needs at least 16 bytes")
        self.base_url = base_url.rstrip("/")
        self._path = unquote(urlsplit(self.base_url).path)
        self._secrets = secret if callable(secret) else lambda: (secret,)
        self._clock = clock

    def sign(
        self,
        method: str,
        bucket: str,
        object_id: str,
        *,
        expires: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Make the URL for one call.

        Args:
            method: GET or PUT.
            bucket, object_id: the object.
            expires: seconds for which the URL is valid.
            query: parameters in the words of S3 (`uploadId`, `partNumber`, `response-content-disposition`).
            headers: `content-md5`, if the request must have that header with this value.

        Raises:
            InvalidName: a name or the lifetime is not valid.
        """
        check_names(bucket, object_id)
        signed = {"X-Amz-Date": self._now(), "X-Amz-Expires": str(check_expiry(expires)), **(query or {})}
        md5 = _hex((headers or {}).get("content-md5"))
        if md5:
            signed["X-Amz-SignedHeaders"] = _MD5_HEADER
        signed["X-Amz-Signature"] = self._signature(method, bucket, object_id, signed, md5)
        return f"{self.base_url}/{bucket}/{object_id}?{urlencode(signed, quote_via=quote)}"

    def sign_post(self, bucket: str, object_id: str, *, expires: int, max_size: int) -> PresignedPost:
        """Make the form to POST an object of at most `max_size` bytes within `expires` seconds; `InvalidName`."""
        check_names(bucket, object_id)
        limits = {"until": int(self._clock()) + check_expiry(expires), "max_size": max_size}
        policy = base64.b64encode(json.dumps(limits).encode()).decode()
        fields = {"key": object_id, "policy": policy, "x-amz-date": self._now()}
        fields["x-amz-signature"] = self._signature("POST", bucket, object_id, fields, "")
        return PresignedPost(f"{self.base_url}/{bucket}", fields)

    def verify(
        self, method: str, path: str, query: Mapping[str, str], *, content_md5: str | None = None
    ) -> SignedRequest:
        """Verify a request to a presigned URL.

        Args:
            method: of the request; a URL for GET does not permit HEAD.
            path: of the request, with or without the path of the base URL.
            query: its decoded parameters.
            content_md5: the value of its Content-MD5 header (base64).

        Returns:
            What the request may do.

        Raises:
            SignatureRefused: it was not signed, or signed for a different request.
            SignatureExpired: its lifetime is over.
        """
        bucket, _, object_id = self._relative(path).partition("/")
        try:
            started = datetime.strptime(query["X-Amz-Date"], _STAMP).replace(tzinfo=UTC).timestamp()
            lifetime = int(query["X-Amz-Expires"])
            number = int(query["partNumber"]) if "partNumber" in query else None
            given = query["X-Amz-Signature"]
        except (KeyError, ValueError) as error:
            raise SignatureRefused(f"The URL of object {object_id!r} carries no complete signature.") from error
        md5 = _hex(content_md5)  # which the content must have in any case, and the signature cover if it says so
        signed_md5 = md5 if query.get("X-Amz-SignedHeaders") == _MD5_HEADER else ""
        rest = {name: value for name, value in query.items() if name != "X-Amz-Signature"}
        if not self._is_signed(given, method, bucket, object_id, rest, signed_md5):
            raise SignatureRefused(f"The signature does not permit {method} of object {object_id!r}.")
        if self._clock() >= started + lifetime:
            raise SignatureExpired(f"The URL of object {object_id!r} has expired.", hint="Ask for a new one.")
        return SignedRequest(
            method,
            bucket,
            object_id,
            upload_id=query.get("uploadId"),
            part_number=number,
            file_name=_file_name(query.get("response-content-disposition")),
            md5=md5 or None,
        )

    def verify_post(self, path: str, fields: Mapping[str, str]) -> SignedRequest:
        """Verify a posted form; errors as in `verify`. The caller must limit the content to `max_size`."""
        bucket = self._relative(path)
        object_id = fields.get("key", "")
        rest = {name: fields[name] for name in ("key", "policy", "x-amz-date") if name in fields}
        if not self._is_signed(fields.get("x-amz-signature", ""), "POST", bucket, object_id, rest, ""):
            raise SignatureRefused(f"The form does not permit to post object {object_id!r}.")
        limits = json.loads(base64.b64decode(fields["policy"]))
        if self._clock() >= limits["until"]:
            raise SignatureExpired(f"The form for object {object_id!r} has expired.", hint="Ask for a new one.")
        return SignedRequest("POST", bucket, object_id, max_size=limits["max_size"])

    def _now(self) -> str:
        return datetime.fromtimestamp(int(self._clock()), UTC).strftime(_STAMP)

    def _signature(self, method: str, bucket: str, object_id: str, query: Mapping[str, str], md5: str) -> str:
        return _sign(self._secrets()[0], method, bucket, object_id, query, md5)

    def _is_signed(
        self, given: str, method: str, bucket: str, object_id: str, query: Mapping[str, str], md5: str
    ) -> bool:
        return any(_equal(_sign(key, method, bucket, object_id, query, md5), given) for key in self._secrets())

    def _relative(self, path: str) -> str:
        if self._path and path.startswith(f"{self._path}/"):
            path = path[len(self._path) :]
        return path.strip("/")


def content_disposition(file_name: str) -> str:
    """The header that names a download, also with characters beyond ASCII (RFC 6266, RFC 8187).

    Raises:
        InvalidValue: the name is no text that UTF-8 can encode.
    """
    try:
        encoded = quote(file_name.encode(), safe="")
    except (AttributeError, UnicodeEncodeError) as error:
        raise InvalidValue("The file name is no text that UTF-8 can encode.", hint="Use another name.") from error
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file_name)
    header = f'attachment; filename="{plain}"'
    return header if plain == file_name else f"{header}; filename*=UTF-8''{encoded}"


def _sign(secret: bytes, method: str, bucket: str, object_id: str, query: Mapping[str, str], md5: str) -> str:
    signed = json.dumps([method, bucket, object_id, md5, sorted(query.items())])
    return hmac.new(secret, signed.encode(), hashlib.sha256).hexdigest()


def _equal(signature: str, given: str) -> bool:
    return hmac.compare_digest(signature.encode(), given.encode(errors="replace"))


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
