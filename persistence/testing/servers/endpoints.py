"""Where an S3 server stands, and how it differs from others."""

from __future__ import annotations

import attrs


@attrs.frozen
class S3Endpoint:
    """An S3 server: URL, credentials, and the names of its declared differences."""

    url: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    differences: frozenset[str] = frozenset()
