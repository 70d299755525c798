"""`connector archive files`, `boxes`, `lock`, `unlock`, `archive-box`: an archive's files and boxes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from connector.cli.commands.archive_options import archive_output_options, location_options, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.models import BoxState
    from connector.cli.run import Invocation


@click.command()
@location_options
@option("--uploads", is_flag=True, envvar=None, show_envvar=False, help="Also files that are not registered yet.")
@option("--json", "as_array", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON array on standard output.")
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
        _print_rows(invocation, rows, columns, as_array=as_array)
        return 0

    run(ctx, work, resume_hint="")


@click.command()
@location_options
@option("--json", "as_array", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON array on standard output.")
@archive_output_options
@click.pass_context
def boxes(ctx: click.Context, /, as_array: bool, **_: object) -> None:
    """List the upload boxes and the states of the uploads in them."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin

        rows = with_archive(ctx, admin.list_boxes)
        _print_rows(invocation, rows, ("box", "state", "size", "max_size", "uploads", "title"), as_array=as_array)
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

    Its interrogated files are registered: at once by a running server, otherwise when the archive is served again.
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


def _print_rows(
    invocation: Invocation, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_array: bool
) -> None:
    if as_array:
        invocation.console.result(json.dumps(rows))
        return
    table = [columns, *([_shown(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    for line in table:
        invocation.console.result(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "-"
    return "-" if value in (None, "") else str(value)
