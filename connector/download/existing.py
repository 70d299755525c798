"""Targets that exist before their download: whether one is the file that would be fetched."""

from __future__ import annotations

from pathlib import Path

import attrs

from connector.crypt4gh.header import MAX_HEADER_SIZE, header_size
from connector.crypt4gh.layout import opened_size
from connector.download.request import DownloadedFile, DownloadRequest
from connector.errors import ConnectorError, FileExistsAlready, IntegrityError
from connector.local.failures import local_failures
from connector.local.finished import FinishedFile, FinishedFiles
from connector.local.partial_file import EXISTS_HINT, existing
from connector.transfer import AlreadyThere
from connector.wire.payloads import DrsObject


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
    if request.overwrite:
        return None
    try:
        return _finished_before(request, finished)
    except ConnectorError:
        return None


def _finished_before(request: DownloadRequest, finished: FinishedFiles) -> DownloadedFile | None:
    target = request.target
    record = finished.find(target.name)
    if record is None or record.origin != request.accession or record.sha256 is None:
        return None
    state = existing(target)
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
