"""Presigned URLs by AWS signature version 4, computed without boto3, which takes many times as long.

The query parameters and the string to sign are those of "Authenticating Requests: Using Query
Parameters (AWS Signature Version 4)" in Amazon's S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

from persistence.errors import CredentialsRefused, InvalidSettings
from persistence.objects.values import Fields, Names

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)


@attrs.frozen
class Endpoint:
    """The URL of a server in parts.

    Attributes:
        host: as HTTP clients send and sign it: lower-case, without a default port.
        path: without a slash at its end, not encoded.
        is_address: whether the host is an IP address, which has no virtual hosts.
    """

    scheme: str
    host: str
    path: str
    is_address: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL apart; `InvalidSettings` if clients could not use it, which the message does not repeat."""
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname or ""
        except ValueError as error:
            raise InvalidSettings(f"The endpoint_url of the S3 server is not valid: {type(error).__name__}.") from error
        if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or "@" in parts.netloc or parts.query:
            hint = "Use http://HOST or https://HOST, with a port and a path at most."
            raise InvalidSettings("The endpoint_url of the S3 server cannot be used.", hint=hint)
        is_address = ":" in host or host.replace(".", "").isdigit()
        host = f"[{host}]" if ":" in host else host
        shown = host if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f"{host}:{port}"
        return cls(parts.scheme, shown, unquote(parts.path).rstrip("/"), is_address)


@attrs.define
class Presigner:
    """Signs URLs of one server.

    Args:
        endpoint: the server.
        credentials: of botocore, which may renew them; None if it has found none.
        region: the region that the server expects.
        virtual: whether buckets are virtual hosts where that is possible: not those of a tenant and, over TLS, not
            those with dots.
        clock: returns seconds since the epoch.
    """

    _endpoint: Endpoint
    _credentials: Any
    _region: str
    _virtual: bool = attrs.field(kw_only=True)
    _clock: Callable[[], float] = time.time
    _key: tuple[str, str, bytes] = attrs.field(init=False, default=("", "", b""))

    def sign(self, method: str, names: Names, expires: int, query: Fields, headers: Fields) -> str:
        """The URL for one call within `expires` seconds; the request must have the `headers` (lower-case names).

        Raises:
            CredentialsRefused: there are no credentials.
        """
        if self._credentials is None:
            raise CredentialsRefused(f"There are no credentials for {self._endpoint.host}.")
        keys = self._credentials.get_frozen_credentials()
        bucket, object_id = names
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        day = stamp[:8]
        server = self._endpoint
        virtual = self._virtual and ":" not in bucket and not (server.scheme == "https" and "." in bucket)
        host = f"{bucket}.{server.host}" if virtual else server.host
        path = f"{server.path}/{object_id}" if virtual else f"{server.path}/{bucket}/{object_id}"
        signed = {"host": host, **headers}
        signed_names = ";".join(sorted(signed))
        scope = f"{day}/{self._region}/s3/aws4_request"
        fields = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{keys.access_key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": signed_names,
            **query,
        }
        if keys.token is not None:
            fields["X-Amz-Security-Token"] = keys.token
        encoded = urlencode(sorted(fields.items()), quote_via=quote, safe="~-_.")
        path = quote(path, safe="/~-_.")
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n{encoded}\n{lines}\n{signed_names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        signature = hmac.new(self._signing_key(day, keys.secret_key), to_sign.encode(), hashlib.sha256).hexdigest()
        return f"{server.scheme}://{host}{path}?{encoded}&X-Amz-Signature={signature}"

    def _signing_key(self, day: str, secret: str) -> bytes:
        if self._key[:2] != (day, secret):
            key = f"AWS4{secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = hmac.new(key, word.encode(), hashlib.sha256).digest()
            self._key = (day, secret, key)
        return self._key[2]
