"""How to reach an S3 server."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from persistence.objects.naming import MAX_PART_SIZE, MIN_PART_SIZE
from persistence.objects.s3.presigning import Presigner

if TYPE_CHECKING:
    from botocore.client import BaseClient


@attrs.frozen
class S3Settings:
    """An S3 server and how to speak with it.

    Attributes:
        endpoint_url: its address; None means Amazon's own.
        access_key, secret_key, session_token: credentials; without them, boto3's own search.
        region: as the server wants it signed.
        addressing: buckets in the path, or as virtual hosts.
        ca_file: certificates to trust instead of the system's.
        deadline: seconds that one call may take; reading and writing bytes may take it per piece.
        attempts: how often a failed request is sent in all.
        max_threads: requests at once.
        part_size: bytes of the parts in which streams are stored.
        max_copy_size: bytes above which an object is copied in parts (S3 limit: 5 GiB).
        copy_part_size: bytes of those parts.
        min_part_size: bytes of every part but the last, as the server wants it.
    """

    endpoint_url: str | None = None
    access_key: str | None = None
    secret_key: str | None = attrs.field(default=None, repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    region: str = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "path"
    ca_file: Path | None = None
    deadline: float = 30.0
    attempts: int = 3
    max_threads: int = 32
    part_size: int = 8 * 1024**2
    max_copy_size: int = MAX_PART_SIZE
    copy_part_size: int = 512 * 1024**2
    min_part_size: int = MIN_PART_SIZE

    @property
    def where(self) -> str:
        """The server's name in messages."""
        return self.endpoint_url or "Amazon S3"


def make_client(settings: S3Settings) -> BaseClient:
    """A boto3 client; its retries and timeouts are set here and nowhere else."""
    import boto3
    from botocore.config import Config

    # The attempts together must end with the deadline, so that a thread left behind soon ends as well.
    patience = max(settings.deadline / settings.attempts, 0.1)
    config = Config(
        signature_version="s3v4",
        region_name=settings.region,
        s3={"addressing_style": settings.addressing},
        retries={"total_max_attempts": settings.attempts, "mode": "standard"},
        connect_timeout=patience,
        read_timeout=patience,
        max_pool_connections=settings.max_threads,
        # Newer default checksums in trailers are unknown to many servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.Session(
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        region_name=settings.region,
    )
    client = session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        config=config,
        verify=None if settings.ca_file is None else str(settings.ca_file),
    )
    client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
    return client


def make_presigner(settings: S3Settings) -> Presigner | None:
    """A signer of URLs, unless boto3 must find the server or the keys, or choose the addressing."""
    if not (settings.endpoint_url and settings.access_key and settings.secret_key) or settings.addressing == "auto":
        return None
    keys = settings.access_key, settings.secret_key, settings.session_token
    virtual = settings.addressing == "virtual"
    return Presigner(settings.endpoint_url, keys, settings.region, virtual=virtual)


def _add_md5(request: Any, **_: Any) -> None:
    """Give the md5 that older servers want where boto3 has come to send a CRC only."""
    body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
    request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
