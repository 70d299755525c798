"""Where `status` and `discard` look for unfinished downloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.download.unfinished import unfinished_downloads
from connector.errors import ConnectorError

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.download.unfinished import UnfinishedDownload


def find_downloads(invocation: Invocation, output_dir: Path | None) -> tuple[list[UnfinishedDownload], str]:
    """The unfinished downloads in `output_dir`, if `None` in the current folder and those that were noted; and a
    sentence about where it was looked."""
    if output_dir is not None:
        return unfinished_downloads(output_dir), f"Looked for downloads in {output_dir}."
    here = Path.cwd()
    found, looked, elsewhere = unfinished_downloads(Path()), [here], []
    for noted in invocation.context.state_folder().outputs.find_all():
        if noted.path == here:
            continue
        if not noted.is_visible:
            elsewhere.append(f"{noted.path} of {noted.host}")
            continue
        try:
            found += unfinished_downloads(noted.path)
            looked.append(noted.path)
        except ConnectorError as error:
            invocation.console.error(str(error))
    missing = f" Not to be seen from here: {', '.join(elsewhere)}." if elsewhere else ""
    return found, f"Looked for downloads in {', '.join(map(str, looked))}.{missing}"


def forget_folders(invocation: Invocation, downloads: list[UnfinishedDownload]) -> None:
    """Drop the notes of folders in which nothing unfinished is left, after these were discarded."""
    folders = invocation.context.state_folder().outputs
    for folder in {download.target.parent.resolve() for download in downloads}:
        folders.forget_if_finished(folder)
