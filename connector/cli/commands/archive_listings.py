"""`connector archive files`, `boxes`, `lock`, `unlock`, `archive-box`: an archive's files and boxes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from connector.cli.commands.archive_options import archive_command, json_option, print_rows, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.models import BoxState
    from connector.cli.run import Invocation


@archive_command()
@option("--uploads", is_flag=True, envvar=None, help="Also files that are not registered yet.")
@json_option
def files(invocation: Invocation, /, uploads: bool, as_array: bool, **_: object) -> None:
    """List the registered files."""
    from connector.archive import admin

    rows = with_archive(functools.partial(admin.list_files, uploads=uploads))
    columns: tuple[str, ...] = ("accession", "state", "decrypted_size", "sha256", "box", "alias")
    if uploads:
        columns += ("failure_reason",)
    print_rows(invocation, rows, columns, as_array=as_array)


@archive_command()
@json_option
def boxes(invocation: Invocation, /, as_array: bool, **_: object) -> None:
    """List the upload boxes and the states of the uploads in them."""
    from connector.archive import admin

    rows = with_archive(admin.list_boxes)
    print_rows(invocation, rows, ("box", "state", "size", "max_size", "uploads", "title"), as_array=as_array)


@archive_command()
@click.argument("box")
def lock(invocation: Invocation, /, box: str, **_: object) -> None:
    """Lock a box: nothing can be uploaded into it."""
    _set_box_state(invocation, box, "locked")


@archive_command()
@click.argument("box")
def unlock(invocation: Invocation, /, box: str, **_: object) -> None:
    """Open a locked box again."""
    _set_box_state(invocation, box, "open")


@archive_command("archive-box")
@click.argument("box")
def archive_box(invocation: Invocation, /, box: str, **_: object) -> None:
    """Archive a locked box for good: nothing can be added or removed.

    Its interrogated files are registered: at once by a running worker, otherwise when there is one.
    """
    _set_box_state(invocation, box, "archived")


def _set_box_state(invocation: Invocation, box: str, state: BoxState) -> None:
    from connector.archive import admin

    changed = with_archive(lambda archive: admin.set_box_state(archive, box, state))
    invocation.console.info(f"The box {changed.id} is {changed.state}.")
