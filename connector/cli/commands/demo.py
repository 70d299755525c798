"""`connector demo`: uploads and downloads files on one machine, and compares every byte at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import LocalPath, command, option, transfer_options

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@command(resume_hint="Without --keep, all files are removed.")
@option("--size", default="256MiB", show_default=True, metavar="SIZE", help="Bytes per file.")
@option("--files", default=1, show_default=True, type=click.IntRange(1, 10_000), metavar="N", help="How many files.")
@option(
    "--keep",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Work in this folder, which must be new or empty, and keep everything.",
)
@transfer_options
def demo(invocation: Invocation, /, size: str, files: int, keep: Path | None, **_: object) -> None:
    """Try all steps: archive, upload, download, decrypt, compare.

    Makes key pairs and random files, starts the embedded archive on a free port, uploads, waits until the archive has
    taken the files in, downloads them encrypted and decrypted, decrypts the former, and compares sha256. Exit code 0
    means that all bytes are identical.
    """
    from connector.cli.commands.demo_run import Demonstration, working_folder
    from connector.config import parse_size
    from connector.errors import UsageError

    try:
        file_size = parse_size(size)
    except ValueError as error:
        raise UsageError(f"--size: {error}.") from None
    if file_size < 1:
        raise UsageError("--size: an archive takes no empty files.")
    with working_folder(keep, needed=file_size * files, on_left=invocation.console.error) as folder:
        demonstration = Demonstration(invocation, folder, file_size, files)
        invocation.wait_for(demonstration.run, on_force_quit=demonstration.kill_archive)
        demonstration.print_table()
