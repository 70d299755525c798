"""Requests, context and results of downloads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import attrs

from connector.clients.cached_value import CachedValue
from connector.clients.downloads import DownloadClient
from connector.clients.objects import ObjectClient
from connector.errors import IntegrityError
from connector.local.finished import FinishedFiles
from connector.transfer import AlreadyThere, RunContext
from connector.wire.tokens import WorkOrderToken

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@,~ -]*", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
MAX_LENGTH = 200
"""Bytes; with our own suffixes, names stay below the 255 bytes that most file systems allow."""


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
        """The path of the local file; `IntegrityError` for an unsafe name."""
        name = checked_file_name(self.accession + self.extension)
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


def checked_file_name(name: str) -> str:
    """Return `name` if it is safe as the name of one file on any system.

    Raises:
        IntegrityError: For names with path separators, control characters, a leading dot, names that Windows reserves,
            and ones that are too long.
    """
    if not _SAFE.fullmatch(name) or name[-1] in ". " or _RESERVED.fullmatch(name) or len(name) > MAX_LENGTH:
        raise IntegrityError(
            f"The archive names a file {name[:80]!r}, which is not safe to use on this machine.",
            hint="Nothing was written. Tell the archive's operators.",
        )
    return name
