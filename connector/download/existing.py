"""A target that is there before its download: whether it is the file that would be fetched."""

from __future__ import annotations

from pathlib import Path

import attrs

from connector.crypt4gh.header import MAX_HEADER_SIZE, header_size
from connector.crypt4gh.layout import opened_size
from connector.download.request import DownloadedFile, DownloadRequest
from connector.errors import ConnectorError, FileExistsAlready, IntegrityError
from connector.local.failures import local_failures
from connector.local.finished import FinishedFile, FinishedFiles
from connector.local.partial_file import IN_THE_WAY, existing
from connector.transfer import AlreadyThere
from connector.wire.payloads import DrsObject


@attrs.frozen
class ExistingFile:
    """A file under the name of a target. `content_size`: bytes without its envelope, if it should have one, and
    `None` if it has none; `note`: what an earlier run noted of it, if it is unchanged since.
    """

    target: Path
    size: int
    mtime_ns: int
    content_size: int | None
    note: FinishedFile | None

    def compare(self, drs: DrsObject, request: DownloadRequest) -> AlreadyThere | None:
        """What shows that this is the file that the archive describes; `None` if it is to be replaced by that.

        With `overwrite` only a file that an earlier run verified, and that is unchanged since, need not be replaced:
        the same command goes on where it was interrupted.

        Raises:
            FileExistsAlready: For a file of another size otherwise.
        """
        fits = self.content_size == (opened_size(drs.size) if request.decrypt else drs.size)
        if request.overwrite:
            note = self.note
            known = fits and note is not None and note.verified and note.sha256 == drs.plaintext_sha256
            return "record" if known else None
        if not fits:
            raise FileExistsAlready(
                f"{self.target} exists already, and is of another size than {request.accession}.",
                hint=IN_THE_WAY,
            )
        return "size"


def find_existing(request: DownloadRequest, notes: FinishedFiles) -> ExistingFile | None:
    """Look for a file under the name of the target. Blocks."""
    target = request.target
    state = existing(target)
    if state is None:
        return None
    content_size = state.st_size if request.decrypt else _content_size(target, state.st_size)
    note = notes.find(target.name)
    if note is not None and not (note.origin == request.accession and note.is_unchanged(state)):
        note = None
    return ExistingFile(target, state.st_size, state.st_mtime_ns, content_size, note)


def is_there(request: DownloadRequest) -> bool:
    """Whether there is a file under the name of the target. Blocks."""
    try:
        return existing(request.target) is not None
    except ConnectorError:
        return False  # the download will say what is wrong with it


def finished_before(request: DownloadRequest, notes: FinishedFiles) -> DownloadedFile | None:
    """The file that an earlier run finished, if it noted that and the file is unchanged since. Blocks.

    Nothing is asked of the archive: what is published under an accession stays what it is. A file that is to be
    replaced is not looked for.
    """
    if request.overwrite:
        return None
    try:
        return _finished_before(request, notes)
    except ConnectorError:
        return None


def _finished_before(request: DownloadRequest, notes: FinishedFiles) -> DownloadedFile | None:
    target = request.target
    note = notes.find(target.name)
    if note is None or note.origin != request.accession or note.sha256 is None:
        return None
    state = existing(target)
    if state is None or not note.is_unchanged(state):
        return None
    compared: AlreadyThere = "record" if note.verified else "size"
    return DownloadedFile(request.accession, target, note.size, note.sha256, note.verified, compared)


def read_envelope(target: Path) -> bytes | None:
    """The envelope at the start of a file, `None` if it has none. Blocks."""
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
    envelope = read_envelope(target)
    return None if envelope is None else size - len(envelope)
