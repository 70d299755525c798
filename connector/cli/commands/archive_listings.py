"""`connector archive files`, `boxes`, `lock`, `unlock`, `archive-box`: an archive's files and boxes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from connector.cli.commands.archive_options import archive_output_options, location_options, with_archive
from connector.cli.commands.archive_tables import json_option, print_rows
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.models import BoxState
    from connector.cli.run import Invocation


@click.command()
@location_options
@option("--uploads", is_flag=True, envvar=None, show_envvar=False, help="Also files that are not registered yet.")
@json_option
@archive_output_options
@click.pass_context
def files(ctx: click.Context, /, uploads: bool, as_array: bool, **_: object) -> None:
    """List the registered files."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        rows = with_archive(ctx, functools.partial(admin.list_files, uploads=uploads))
        columns: tuple[str, ...] = ("accession", "state", "decrypted_size", "sha256", "box", "alias")
        if uploads:
            columns += ("failure_reason",)
        print_rows(invocation, rows, columns, as_array=as_array)
        return 0

    run(ctx, work, resume_hint="")


@click.command()
@location_options
@json_option
@archive_output_options
@click.pass_context
def boxes(ctx: click.Context, /, as_array: bool, **_: object) -> None:
    """List the upload boxes and the states of the uploads in them."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        rows = with_archive(ctx, admin.list_boxes)
        print_rows(invocation, rows, ("box", "state", "size", "max_size", "uploads", "title"), as_array=as_array)
        return 0

    run(ctx, work, resume_hint="")


@click.command()
@location_options
@archive_output_options
@click.argument("box")
@click.pass_context
def lock(ctx: click.Context, /, box: str, **_: object) -> None:
    """Lock a box: nothing can be uploaded into it."""
    _set_box_state(ctx, box, "locked")


@click.command()
@location_options
@archive_output_options
@click.argument("box")
@click.pass_context
def unlock(ctx: click.Context, /, box: str, **_: object) -> None:
    """Open a locked box again."""
    _set_box_state(ctx, box, "open")


@click.command("archive-box")
@location_options
@archive_output_options
@click.argument("box")
@click.pass_context
def archive_box(ctx: click.Context, /, box: str, **_: object) -> None:
    """Archive a locked box for good: nothing can be added or removed.

    Its interrogated files are registered: at once by a running worker, otherwise when there is one.
    """
    _set_box_state(ctx, box, "archived")


def _set_box_state(ctx: click.Context, box: str, state: BoxState) -> None:
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        changed = with_archive(ctx, lambda archive: admin.set_box_state(archive, box, state))
        invocation.console.info(f"The box {changed.id} is {changed.state}.")
        return 0

    run(ctx, work, resume_hint="")
