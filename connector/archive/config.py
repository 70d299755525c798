"""The configuration of an archive: where its documents, objects and keys are, and its settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import validators

from connector.archive.settings import ArchiveSettings

EMBEDDED_ALIAS = "embedded"
"""The storage alias of an archive in one directory, if no other is given."""
_BUCKETS = frozenset({"inbox", "permanent", "download"})
_LONGEST_DEADLINE = 24 * 3600.0
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@attrs.frozen(kw_only=True)
class SqliteDocuments:
    """Documents in one SQLite file on a local disk, which all processes of the archive on this machine share."""

    path: Path


@attrs.frozen(kw_only=True)
class MongodbDocuments:
    """Documents in a database of a MongoDB replica set.

    Attributes:
        uri: `mongodb://` or `mongodb+srv://`, with hosts, credentials, `replicaSet`, `tls`.
        database: Its name.
        deadline: Seconds that one call may take.
    """

    uri: str = attrs.field(repr=False)
    database: str = attrs.field(default="archive", validator=validators.min_len(1))
    deadline: float = attrs.field(default=15.0, validator=[validators.gt(0), validators.le(_LONGEST_DEADLINE)])


@attrs.frozen(kw_only=True)
class HubBuckets:
    """The names of a hub's buckets: for uploads, for archived files, and for copies that are staged for downloads."""

    inbox: str = "inbox"
    permanent: str = "permanent"
    download: str = "download"

    def __attrs_post_init__(self) -> None:
        if len({self.inbox, self.permanent, self.download}) < 3:
            raise ValueError("inbox, permanent and download must be three different buckets")

    @property
    def names(self) -> tuple[str, str, str]:
        """All three."""
        return self.inbox, self.permanent, self.download


@attrs.frozen(kw_only=True)
class FilesystemBuckets(HubBuckets):
    """Buckets in a directory; the archive serves their presigned URLs itself."""

    path: Path

    @property
    def place(self) -> str:
        """What two hubs may share only with different buckets: the directory, however it is written."""
        return os.path.realpath(self.path)


@attrs.frozen(kw_only=True)
class S3Buckets(HubBuckets):
    """Buckets of an S3 server, which exist already. Fields without an explanation are those of `S3Settings`.

    Attributes:
        endpoint_url: The URL under which this archive and its clients reach the server.
        access_key: With `secret_key` (and `session_token`) the credentials; without them boto3 searches for some.
    """

    endpoint_url: str | None = None
    access_key: str | None = None
    secret_key: str | None = attrs.field(default=None, repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)
    region: str = "us-east-1"
    addressing: Literal["path", "virtual", "auto"] = "path"
    ca_file: Path | None = None
    deadline: float = attrs.field(default=30.0, validator=[validators.gt(0), validators.le(_LONGEST_DEADLINE)])
    attempts: int = attrs.field(default=3, validator=validators.ge(1))
    max_threads: int = attrs.field(default=32, validator=validators.ge(1))
    conditional_writes: Literal["probe", "all", "put", "none"] = "probe"

    @property
    def place(self) -> str:
        """What two hubs may share only with different buckets: the server, however its address is written."""
        if self.endpoint_url is None:
            return "Amazon S3"
        scheme, _, rest = self.endpoint_url.partition("://")
        host, slash, path = rest.rstrip("/").partition("/")
        port = {"http": ":80", "https": ":443"}.get(scheme.lower(), "")
        return f"{scheme.lower()}://{host.lower().removesuffix(port)}{slash}{path}"

    @property
    def server(self) -> dict[str, Any]:
        """How to reach the server: the arguments of `S3Settings`."""
        return {name: value for name, value in attrs.asdict(self).items() if name not in _BUCKETS}


def _check_alias(hub: HubConfig, attribute: attrs.Attribute[str], alias: str) -> None:
    if _ALIAS.fullmatch(alias) is None:
        raise ValueError(
            f"the alias {alias!r} has other characters than letters, digits, '.', '_' and '-', or more than 63"
        )


@attrs.frozen(kw_only=True)
class HubConfig:
    """One data hub.

    Attributes:
        alias: The storage alias.
        label: Its name for people.
        storage: Its buckets.
        private_key: Its Crypt4GH private key, as the file or the environment holds it; None lets the archive make one.
    """

    alias: str = attrs.field(validator=_check_alias)
    label: str = ""
    storage: FilesystemBuckets | S3Buckets
    private_key: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ArchiveConfig:
    """All that the processes of one archive have to know before they start.

    Attributes:
        public_url: The URL under which clients reach the archive; by host and port of the server if None.
        documents: The database.
        hubs: The data hubs, at least one; the first is that of boxes for which none is chosen.
        keys_directory: Where the master keys are.
        master_keys: Those of the environment (base64, separated by blanks or commas), which replace the directory.
        settings: Lifetimes, limits and policies.
    """

    documents: SqliteDocuments | MongodbDocuments
    hubs: tuple[HubConfig, ...]
    keys_directory: Path
    master_keys: str | None = attrs.field(default=None, repr=False)
    public_url: str | None = None
    settings: ArchiveSettings = attrs.field(factory=ArchiveSettings)

    def __attrs_post_init__(self) -> None:
        if not self.hubs:
            raise ValueError("an archive needs at least one of [[hubs]]")
        _check_distinct(hub.alias for hub in self.hubs)
        _check_distinct(f"{bucket} of {hub.storage.place}" for hub in self.hubs for bucket in hub.storage.names)


def _check_distinct(names: Iterator[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two hubs have {name}")
        seen.add(name)


def embedded(root: Path, *, storage_alias: str = EMBEDDED_ALIAS, **settings: Any) -> ArchiveConfig:
    """The configuration of an archive in one directory: SQLite, files and keys below it, one hub.

    Args:
        root: The directory.
        storage_alias: The alias of the hub.
        settings: Those of `ArchiveSettings` that are not the defaults.
    """
    return ArchiveConfig(
        documents=SqliteDocuments(path=root / "archive.sqlite"),
        hubs=(HubConfig(alias=storage_alias, storage=FilesystemBuckets(path=root / "objects")),),
        keys_directory=root / "keys",
        settings=ArchiveSettings(**settings),
    )
