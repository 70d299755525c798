"""Finds what is unfinished, for `status` and `discard`: transfers of this machine, and open uploads in the box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connector.download.unfinished import unfinished_downloads
from connector.errors import ConnectorError
from connector.local.disk import local_failures
from connector.local.targets import OutputFolders
from connector.upload.listing import unfinished_uploads

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.download.unfinished import UnfinishedDownload
    from connector.upload.listing import AnnouncedUpload, UnfinishedUpload
    from connector.wire.payloads import FileUpload


def find_uploads(invocation: Invocation) -> tuple[list[UnfinishedUpload], int]:
    """The unfinished uploads of this machine; and how many journals cannot be read, of which errors were printed."""
    errors: list[ConnectorError] = []
    found = unfinished_uploads(invocation.context.state_folder().uploads, errors.append)
    for error in errors:
        invocation.console.error(str(error))
    return found, len(errors)


def find_downloads(invocation: Invocation, output_dir: Path | None) -> tuple[list[UnfinishedDownload], str, int]:
    """The unfinished downloads in `output_dir`, by default in the current folder and the recorded ones; a message that
    names the folders; and how many journals, records and folders cannot be read, of which errors were printed."""
    unreadable = 0

    def complain(error: ConnectorError) -> None:
        nonlocal unreadable
        unreadable += 1
        invocation.console.error(str(error))

    if output_dir is not None:
        return unfinished_downloads(output_dir, complain), f"Looked for downloads in {output_dir}.", unreadable
    found: list[UnfinishedDownload] = []
    looked, elsewhere = [], []
    here: Path | None = None
    try:
        with local_failures("look into", "the current folder"):
            here = Path.cwd()
        found += unfinished_downloads(Path(), complain)
        looked.append(here)
    except ConnectorError as error:
        complain(error)
    for recorded in OutputFolders(invocation.context.state_folder().outputs).find_all(complain):
        if recorded.path == here:
            continue
        if recorded.is_gone:
            elsewhere.append(f"{recorded.path} of {recorded.host}")
            continue
        try:
            found += unfinished_downloads(recorded.path, complain)
            looked.append(recorded.path)
        except ConnectorError as error:
            complain(error)
    missing = f" Not visible from here: {', '.join(elsewhere)}." if elsewhere else ""
    return found, f"Looked for downloads in {', '.join(map(str, looked)) or 'no folder'}.{missing}", unreadable


def forget_folders(invocation: Invocation, downloads: list[UnfinishedDownload]) -> None:
    """Drop the records of folders in which nothing unfinished is left after these were discarded."""
    folders = OutputFolders(invocation.context.state_folder().outputs)
    for folder in {download.target.parent.resolve() for download in downloads}:
        folders.forget_if_finished(folder)


def announced_here(upload: FileUpload, announced: Sequence[AnnouncedUpload]) -> bool:
    """Whether an open upload is, by name and size, one that a run on this machine requested without a response."""
    return any(upload.alias == each.alias and upload.decrypted_size in (None, each.size) for each in announced)


def not_unfinished_here(listed: Sequence[FileUpload], here: Sequence[UnfinishedUpload]) -> list[FileUpload]:
    """The open uploads of a box that are not among this machine's unfinished ones, sorted by alias."""
    known = {upload.file_id for upload in here}
    return sorted((upload for upload in listed if upload.id not in known), key=lambda upload: upload.alias)
