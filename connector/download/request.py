"""Requests, context and results of downloads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import attrs

from connector.clients.cached_value import CachedValue
from connector.clients.downloads import DownloadClient
from connector.clients.objects import ObjectClient
from connector.errors import UsageError
from connector.local.finished import FinishedFiles
from connector.local.names import collision_key, safe_file_name
from connector.local.partial_file import WORKING_ENDINGS
from connector.transfer import AlreadyThere, RunContext
from connector.wire.tokens import WorkOrderToken


@attrs.frozen
class DownloadedFile:
    """A finished download.

    Attributes:
        size: Bytes of the local file.
        sha256: Of the plaintext, lower case hex, as the archive states it.
        verified: Whether the file was checked against it.
        already_there: What was compared if the file existed already.
    """

    accession: str
    path: Path
    size: int
    sha256: str
    verified: bool = True
    already_there: AlreadyThere | None = None


@attrs.frozen
class DownloadRequest:
    """A file to download. `extension` is that of the file name in the work package.

    `overwrite`: whether an existing file is replaced; `verify`: whether a file that stays encrypted is verified.
    """

    accession: str
    extension: str
    output_dir: Path
    decrypt: bool
    overwrite: bool
    verify: bool = True

    @property
    def target(self) -> Path:
        """The path of the local file, whose name is safe whatever the archive calls it."""
        name = safe_file_name(self.accession, self.extension)
        return self.output_dir / (name if self.decrypt else f"{name}.c4gh")


class DownloadTokens(Protocol):
    """The source of the tokens of downloads."""

    def download_token(self, accession: str) -> CachedValue[WorkOrderToken]:
        """The work order token for one file, cached for its lifetime."""


@attrs.frozen(kw_only=True)
class DownloadContext:
    """What the downloads of one batch share; `finished`: the records of earlier runs about the output folder."""

    run: RunContext
    tokens: DownloadTokens
    downloads: DownloadClient
    objects: ObjectClient
    private_key: bytes = attrs.field(repr=False)
    finished: FinishedFiles


def check_targets(requests: Iterable[DownloadRequest]) -> None:
    """Raise `UsageError` if two files would have the same name here, or one that differs in case or Unicode form only.

    The names of the files that a download works on count as well.
    """
    seen: dict[str, DownloadRequest] = {}
    for request in requests:
        other = seen.setdefault(collision_key(request.target.name), request)
        if other is not request:
            raise _collision(other, request)
    for key, request in seen.items():
        for ending in WORKING_ENDINGS:
            if key.endswith(ending) and key.removesuffix(ending) in seen:
                raise _collision(seen[key.removesuffix(ending)], request)


def _collision(first: DownloadRequest, second: DownloadRequest) -> UsageError:
    return UsageError(
        f"{first.accession} and {second.accession} would be the same file on some systems:"
        f" {first.target.name} and {second.target.name}.",
        hint="Nothing was fetched. Name the accessions, and download one of these two into another folder.",
    )
