"""The endpoint of an S3 server and its declared differences."""

from __future__ import annotations

import attrs


@attrs.frozen
class S3Endpoint:
    """An S3 server.

    Attributes:
        url: URL of the server.
        access_key, secret_key: credentials.
        differences: names of its declared differences (docs/persistence.md).
    """

    url: str
    access_key: str
    secret_key: str = attrs.field(repr=False)
    differences: frozenset[str] = frozenset()
