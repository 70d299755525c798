"""What to download and with what, and what came of it."""

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
"""Bytes; leaves room for our own endings below the 255 that most file systems allow."""


@attrs.frozen
class DownloadedFile:
    """A finished download. `size`: bytes of the local file; `sha256`: of the plaintext, lower case hex;
    `verified`: whether the file was checked against it, or the archive is only quoted; `already_there`: set where
    nothing had to be fetched, to what was compared.
    """

    accession: str
    path: Path
    size: int
    sha256: str
    verified: bool = True
    already_there: AlreadyThere | None = None


@attrs.frozen
class DownloadRequest:
    """What to fetch and where to. `extension` is what the work package gives for the accession.

    `overwrite`: whether a file that is there is replaced; `verify`: whether what stays encrypted is verified.
    """

    accession: str
    extension: str
    output_dir: Path
    decrypt: bool
    overwrite: bool
    verify: bool = True

    @property
    def target(self) -> Path:
        """The file that this will become; raises `IntegrityError` for an unsafe name."""
        name = checked_file_name(self.accession + self.extension)
        return self.output_dir / (name if self.decrypt else f"{name}.c4gh")


class DownloadTokens(Protocol):
    """Where the tokens of downloads come from."""

    def download_token(self, accession: str) -> CachedValue[WorkOrderToken]:
        """The work order token for one file, cached for its lifetime."""


@attrs.frozen(kw_only=True)
class DownloadContext:
    """What the downloads of one batch share. `notes` tell what earlier runs finished in the output folder."""

    run: RunContext
    tokens: DownloadTokens
    downloads: DownloadClient
    objects: ObjectClient
    private_key: bytes = attrs.field(repr=False)
    notes: FinishedFiles


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
