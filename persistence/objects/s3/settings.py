"""How to reach an S3 server."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs

from persistence.errors import InvalidSettings
from persistence.objects.naming import MAX_PART_SIZE, MIN_PART_SIZE
from persistence.objects.s3.presigning import Endpoint, Presigner
from persistence.settings import load_settings

if TYPE_CHECKING:
    from botocore.client import BaseClient


@attrs.frozen
class S3Settings:
    """An S3 server, and the limits of the calls to it.

    Attributes:
        endpoint_url: URL of the server; None means Amazon's own.
        access_key, secret_key, session_token: credentials; without them boto3 searches for some. `repr` leaves out
            the secret ones.
        region: the region that requests are signed for.
        addressing: whether the bucket is in the path of a URL or in its host name; `auto`: in the host name at Amazon.
        ca_file: certificates to trust instead of the system's.
        deadline: seconds that one call may take; for reading and writing bytes, seconds per piece.
        attempts: how often a failed request is sent, the first time included.
        max_threads: requests at the same time.
        part_size: bytes of the parts in which streams are stored.
        max_copy_size: bytes above which an object is copied in parts (limit of S3: 5 GiB).
        copy_part_size: bytes of those parts.
        min_part_size: bytes that the server requires of every part but the last.
        conditional_writes: where the server honours `If-None-Match`, on which `put_object(overwrite=False)` stands: on
            every write (`all`), on PutObject only (`put`), or nowhere (`none`). `probe` finds out at the first such
            call with an object of its own, `conditional-write-probe-...`, which it deletes.

    Raises:
        InvalidSettings: clients could not use the URL, only one of the two keys is given, or a number is not positive.
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
    conditional_writes: Literal["probe", "all", "put", "none"] = "probe"

    def __attrs_post_init__(self) -> None:
        if self.endpoint_url is not None:
            Endpoint.parse(self.endpoint_url)
        if (self.access_key is None) is not (self.secret_key is None):
            raise InvalidSettings("Of access_key and secret_key of the S3 server only one is given.")
        for name, value in attrs.asdict(self).items():
            if isinstance(value, int | float) and not value > 0:
                raise InvalidSettings(f"{name} of the S3 server must be a positive number.")

    @classmethod
    def load(cls, file: Path | None = None, *, prefix: str = "S3_") -> Self:
        """The settings from the environment (`S3_ENDPOINT_URL`) and from the table `s3` of a TOML file.

        Args:
            file: the TOML file; None means the environment alone, which takes precedence.
            prefix: what the names of the variables begin with.

        Raises:
            InvalidSettings: a setting is unknown or wrong, or the file cannot be read.
        """
        return load_settings(cls, file, prefix=prefix, service="S3", example="region")

    @property
    def where(self) -> str:
        """The server's name in messages."""
        return self.endpoint_url or "Amazon S3"


def connect(settings: S3Settings) -> tuple[BaseClient, Presigner]:
    """A boto3 client, whose retries and timeouts are set only here, and a signer of URLs of the same server."""
    import boto3
    from botocore.config import Config
    from botocore.handlers import validate_bucket_name

    # All attempts together must end with the deadline, so that the thread of a cancelled call ends soon as well.
    timeout = max(settings.deadline / settings.attempts, 0.1)
    # An IP address has no virtual hosts.
    is_address = settings.endpoint_url is not None and Endpoint.parse(settings.endpoint_url).is_address
    addressing = "path" if is_address else settings.addressing
    config = Config(
        signature_version="s3v4",
        region_name=settings.region,
        s3={"addressing_style": addressing},
        retries={"total_max_attempts": settings.attempts, "mode": "standard"},
        connect_timeout=timeout,
        read_timeout=timeout,
        max_pool_connections=settings.max_threads,
        # Newer default checksums in trailers are unknown to many servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.Session(settings.access_key, settings.secret_key, settings.session_token)
    trusted = None if settings.ca_file is None else str(settings.ca_file)
    client = session.client("s3", endpoint_url=settings.endpoint_url, config=config, verify=trusted)
    client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
    # It refuses Ceph's `tenant:bucket`; names are checked before they get here.
    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    endpoint = Endpoint.parse(client.meta.endpoint_url)
    virtual = addressing == "virtual" or (addressing == "auto" and ".amazonaws." in endpoint.host)
    return client, Presigner(endpoint, session.get_credentials(), settings.region, virtual=virtual)


def _add_md5(request: Any, **_: Any) -> None:
    """Add the md5 that older servers require where boto3 sends only a CRC."""
    body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
    request.headers["Content-MD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
