"""ETags of stored parts: often the md5 of the bytes, which no specification guarantees.

S3 documents the ETag as the md5 for objects that are stored unencrypted or under SSE-S3, and as another value under
SSE-KMS and SSE-C, which header fields of the response tell. Gateways have ETags of their own without saying so.
Therefore a part counts as damaged only where ETags have proved to be md5s; other damage is found when the archive
checks the sha256 at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MD5 = re.compile(r"[0-9a-f]{32}")
_ENCRYPTION = re.compile(r"x-amz-server-side-encryption|x-goog-encryption-kms", re.IGNORECASE)


def stored_md5(headers: Mapping[str, str]) -> str | None:
    """Return the md5 (lower case hex) of the stored bytes, `None` if the response's ETag cannot be one."""
    for name, value in headers.items():
        # SSE-C has the same value, AES256, under a longer name.
        plain_name = name.lower() == "x-amz-server-side-encryption"
        if _ENCRYPTION.match(name) and not (plain_name and value.strip().upper() == "AES256"):
            return None
    etag = next((value for name, value in headers.items() if name.lower() == "etag"), "").strip().strip('"').lower()
    return etag if _MD5.fullmatch(etag) else None


class EtagRecord:
    """Whether the ETags of one storage are md5s, as far as its responses have shown."""

    def __init__(self) -> None:
        self._proved = False
        self._differed = 0

    def is_damaged(self, md5: str, stored: str | None) -> bool:
        """Whether a part with this `md5` has to be sent again, given the md5 that its ETag states.

        Before any ETag was equal to the md5 of its part, one part is sent again to find out; ETags that still differ
        are no md5s.
        """
        if stored is None:
            return False
        if stored == md5:
            self._proved = True
            return False
        self._differed += 1
        return self._proved or self._differed == 1
