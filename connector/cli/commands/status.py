"""`connector status`: unfinished transfers and their progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.cli.options import archive_options, command, option, search_option

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.wire.payloads import FileUpload


@command()
@search_option
@option(
    "--in-box",
    is_flag=True,
    envvar=None,
    help="Also list open uploads in your upload box that were started elsewhere. Sends requests to the archive.",
)
@archive_options
def status(invocation: Invocation, /, output_dir: Path | None, in_box: bool, **_: object) -> None:
    """List uploads and downloads that were interrupted.

    Each is resumed when its command is run again, or removed with: connector discard
    """
    from connector.cli.console import amount
    from connector.cli.leftovers import announced_here, find_downloads, find_uploads, not_unfinished_here
    from connector.upload.listing import announced_uploads

    console = invocation.console

    def show(line: str) -> None:
        if not console.as_json:
            console.result(line)

    uploads, _unreadable = find_uploads(invocation)
    downloads, looked, _unreadable = find_downloads(invocation, output_dir)
    for upload in uploads:
        show(f"upload    {upload.alias}: {amount(upload.done)} of {amount(upload.size)} from {upload.path}")
        console.record(
            {"kind": "upload", "name": upload.alias, "path": upload.path, "done": upload.done, "size": upload.size}
        )
    for download in downloads:
        done, size = amount(download.done), amount(download.size)
        show(f"download  {download.accession}: {done} of {size} into {download.target}")
        console.record(
            {
                "kind": "download",
                "name": download.accession,
                "path": download.target,
                "done": download.done,
                "size": download.size,
            }
        )
    others: list[FileUpload] = []
    if in_box:
        look = invocation.access().in_session(lambda session: session.open_in_box())
        others = not_unfinished_here(invocation.wait_for(look), uploads)
    # Of journals that cannot be read there was an error already.
    folder = invocation.context.state_folder().uploads
    announced = announced_uploads(folder, lambda error: None) if others else []
    for listed in others:
        here = announced_here(listed, announced)
        begun = "announced from here, without a response; upload it again" if here else "started elsewhere"
        size = "" if listed.decrypted_size is None else f", {amount(listed.decrypted_size)}"
        show(f"in box    {listed.alias}: open{size}, {begun}")
        console.record(
            {
                "kind": "in box",
                "name": listed.alias,
                "file_id": listed.id,
                "size": listed.decrypted_size,
                "announced_here": here,
            }
        )
    if not uploads and not downloads and not others:
        console.info("Nothing is unfinished.")
    console.info(looked)
