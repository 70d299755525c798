"""`connector archive jobs`: what is still to be done about files, and what has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from connector.cli.commands.archive_options import archive_command, json_option, print_rows, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.cli.run import Invocation

_COLUMNS = ("job", "kind", "state", "due", "attempts", "worker", "reason")


@archive_command()
@option("--all", "everything", is_flag=True, envvar=None, help="Also jobs whose time will come.")
@json_option
@click.argument("action", type=click.Choice(["retry"]), required=False, metavar="[retry")
@click.argument("ids", nargs=-1, metavar="[JOB]...]")
def jobs(
    invocation: Invocation,
    /,
    everything: bool,
    as_array: bool,
    action: str | None,
    ids: tuple[str, ...],
    **_: object,
) -> None:
    """List the jobs that are due, in progress, or have failed.

    A job that has failed waits until it is tried again, and is set aside with its reason after too many failures:
    `jobs retry` tries those at once, these or all.
    """
    from connector.archive import admin

    if action is None:
        rows = with_archive(lambda archive: admin.list_jobs(archive, scheduled=everything))
        print_rows(invocation, rows, _COLUMNS, as_array=as_array)
    else:
        count = with_archive(lambda archive: admin.retry_jobs(archive, ids))
        invocation.console.info(f"{count} job(s) are tried again.")
