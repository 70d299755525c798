"""What the ETag of a stored part is worth: often the md5 of its bytes, but nothing promises that it is.

S3 documents it as the md5 for objects that are stored plainly or under SSE-S3, and as something else under SSE-KMS and
SSE-C, which the answer's headers tell. Gateways have ETags of their own without saying so. So damage is only claimed
where ETags have proved to be md5s; anything else shows when the archive checks the sha256 at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MD5 = re.compile(r"[0-9a-f]{32}")
_ENCRYPTION = re.compile(r"x-amz-server-side-encryption|x-goog-encryption-kms", re.IGNORECASE)


def stored_md5(headers: Mapping[str, str]) -> str | None:
    """The md5 (lower case hex) of the bytes that were stored, ``None`` if the answer's ETag cannot be one."""
    for name, value in headers.items():
        # SSE-C has the same value, AES256, under a longer name.
        plain_name = name.lower() == "x-amz-server-side-encryption"
        if _ENCRYPTION.match(name) and not (plain_name and value.strip().upper() == "AES256"):
            return None
    etag = next((value for name, value in headers.items() if name.lower() == "etag"), "").strip().strip('"').lower()
    return etag if _MD5.fullmatch(etag) else None


class EtagRecord:
    """What the ETags of a storage have shown so far."""

    def __init__(self) -> None:
        self._proved = False
        self._differed = 0

    def is_damaged(self, md5: str, stored: str | None) -> bool:
        """Whether a part whose md5 is ``md5`` is to be sent again, since the storage says that it has ``stored``.

        Before any ETag was an md5, one part is sent again to find out; ETags that still differ are none.
        """
        if stored is None:
            return False
        if stored == md5:
            self._proved = True
            return False
        self._differed += 1
        return self._proved or self._differed == 1
