"""What to download, and what came of it."""

from __future__ import annotations

from pathlib import Path

import attrs

from connector.local.file_names import checked_file_name
from connector.transfer import AlreadyThere


@attrs.frozen
class DownloadedFile:
    """A finished download. ``size``: bytes of the local file; ``sha256``: of the plaintext, lower case hex;
    ``verified``: whether the file was checked against it, or the archive is only quoted; ``already_there``: set where
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
    """What to fetch and where to. ``extension`` is what the work package gives for the accession.

    ``overwrite``: whether a file that is there is replaced; ``verify``: whether what stays encrypted is verified.
    """

    accession: str
    extension: str
    output_dir: Path
    decrypt: bool
    overwrite: bool
    verify: bool = True

    @property
    def target(self) -> Path:
        """The file that this will become; raises :class:`~connector.errors.IntegrityError` for an unsafe name."""
        name = checked_file_name(self.accession + self.extension)
        return self.output_dir / (name if self.decrypt else f"{name}.c4gh")
