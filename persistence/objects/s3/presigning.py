"""Presigned URLs by AWS signature version 4, computed here: many times faster than by boto3.

The query parameters and the string to sign are those of "Authenticating Requests: Using Query
Parameters (AWS Signature Version 4)" in Amazon's S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Presigner:
    """Signs URLs of one server with one pair of static keys.

    Args:
        endpoint_url: the server.
        keys: access key, secret key, and session token if there is one.
        region: as the server wants it.
        virtual: whether buckets are virtual hosts and not in the path.
        clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        endpoint_url: str,
        keys: tuple[str, str, str | None],
        region: str,
        *,
        virtual: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(endpoint_url)
        self._scheme = parts.scheme
        self._host = _without_default_port(parts.scheme, parts.netloc)
        self._base = parts.path.rstrip("/")
        self._access_key, self._secret_key, self._token = keys
        self._region = region
        self._virtual = virtual
        self._clock = clock
        self._key: tuple[str, bytes] = ("", b"")

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
        """The URL for one call within `expires` seconds; `headers` (lower-case names) must come with it."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        day = stamp[:8]
        host = f"{bucket}.{self._host}" if self._virtual else self._host
        path = f"{self._base}/{object_id}" if self._virtual else f"{self._base}/{bucket}/{object_id}"
        signed = {"host": host, **(headers or {})}
        names = ";".join(sorted(signed))
        scope = f"{day}/{self._region}/s3/aws4_request"
        fields = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self._access_key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": names,
            **(query or {}),
        }
        if self._token is not None:
            fields["X-Amz-Security-Token"] = self._token
        encoded = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in sorted(fields.items()))
        path = quote(path, safe="/~-_.")
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n{encoded}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        signature = hmac.new(self._signing_key(day), to_sign.encode(), hashlib.sha256).hexdigest()
        return f"{self._scheme}://{host}{path}?{encoded}&X-Amz-Signature={signature}"

    def _signing_key(self, day: str) -> bytes:
        if self._key[0] != day:
            key = f"AWS4{self._secret_key}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = hmac.new(key, word.encode(), hashlib.sha256).digest()
            self._key = (day, key)
        return self._key[1]


def _encoded(text: str) -> str:
    return quote(text, safe="~-_.")


def _without_default_port(scheme: str, netloc: str) -> str:
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return netloc.removesuffix(default) if default else netloc
