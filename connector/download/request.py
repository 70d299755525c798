"""Requests, context and results of downloads, and targets that exist before: whether one is what would be fetched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import attrs

from connector.clients.api_client import CachedValue, WorkOrderToken
from connector.clients.downloads import DownloadClient
from connector.clients.objects import ObjectClient
from connector.crypt4gh.keys import MAX_HEADER_SIZE, header_size
from connector.crypt4gh.segments import opened_size
from connector.errors import ConnectorError, FileExistsAlready, IntegrityError, UsageError
from connector.local.disk import local_failures
from connector.local.state_folder import FinishedFile, FinishedFiles
from connector.local.targets import EXISTS_HINT, WORKING_ENDINGS, collision_key, existing, safe_file_name
from connector.transfer import AlreadyThere, RunContext
from connector.wire.payloads import DrsObject


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


@attrs.frozen
class ExistingFile:
    """An existing file with the name of a target.

    Attributes:
        content_size: Bytes without the header of a file that stays encrypted; `None` if it has no header.
        record: The record of an earlier run, if the file is unchanged since.
    """

    target: Path
    size: int
    mtime_ns: int
    content_size: int | None
    record: FinishedFile | None

    def compare(self, drs: DrsObject, request: DownloadRequest) -> AlreadyThere | None:
        """What was compared to find that this is the file in the archive; `None` if it is to be replaced.

        With `overwrite`, only a file that an earlier run verified, and that is unchanged since, is not replaced: so
        the same command resumes after an interruption.

        Raises:
            FileExistsAlready: For a file of another size, without `overwrite`.
        """
        fits = self.content_size == (opened_size(drs.size) if request.decrypt else drs.size)
        if request.overwrite:
            record = self.record
            verified = fits and record is not None and record.verified and record.sha256 == drs.plaintext_sha256
            return "record" if verified else None
        if not fits:
            raise FileExistsAlready(
                f"{self.target} exists already, and is of another size than {request.accession}.",
                hint=EXISTS_HINT,
            )
        return "size"


def find_existing(request: DownloadRequest, finished: FinishedFiles) -> ExistingFile | None:
    """Inspect an existing file with the name of the target. Blocks.

    Raises:
        FileExistsAlready: It is the file of another accession, by the record of the run that fetched it.
    """
    target = request.target
    state = existing(target)
    if state is None:
        return None
    content_size = state.st_size if request.decrypt else _content_size(target, state.st_size)
    record = finished.find(target.name)
    if record is not None and not record.is_unchanged(state):
        record = None
    if record is not None and record.origin != request.accession:
        if not request.overwrite:
            raise FileExistsAlready(f"{target} exists already, and is the file {record.origin}.", hint=EXISTS_HINT)
        record = None
    return ExistingFile(target, state.st_size, state.st_mtime_ns, content_size, record)


def target_exists(request: DownloadRequest) -> bool:
    """Whether there is a file with the name of the target. Blocks."""
    try:
        return existing(request.target) is not None
    except ConnectorError:
        return False  # the download will report what is wrong with it


def finished_before(request: DownloadRequest, finished: FinishedFiles) -> DownloadedFile | None:
    """The file that an earlier run finished, by its record, if it is unchanged since. Blocks.

    No request is sent: what is published under an accession does not change. With `overwrite`, there is none.
    """
    target = request.target
    record = None if request.overwrite else finished.find(target.name)
    if record is None or record.origin != request.accession or record.sha256 is None:
        return None
    try:
        state = existing(target)
    except ConnectorError:
        return None  # the download will report what is wrong with it
    if state is None or not record.is_unchanged(state):
        return None
    compared: AlreadyThere = "record" if record.verified else "size"
    return DownloadedFile(request.accession, target, record.size, record.sha256, record.verified, compared)


def read_header(target: Path) -> bytes | None:
    """The Crypt4GH header of a file, `None` if it has none. Blocks."""
    with local_failures("read", target), target.open("rb") as file:
        data = b""
        try:
            while (size := header_size(data)) is None:
                more = file.read(max(4096, len(data)))
                if not more or len(data) > MAX_HEADER_SIZE:
                    return None
                data += more
        except IntegrityError:
            return None
    return data[:size]


def _content_size(target: Path, size: int) -> int | None:
    header = read_header(target)
    return None if header is None else size - len(header)
