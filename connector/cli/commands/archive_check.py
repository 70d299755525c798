"""`connector archive check` and `upgrade`: faults of an archive, and databases of earlier versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from connector.cli.commands.archive_options import archive_command, find_archive, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.faults import Fault
    from connector.cli.run import Invocation


@archive_command()
@option("--repair", is_flag=True, envvar=None, help="Mend what is safe to mend.")
@option(
    "--delete-unknown",
    is_flag=True,
    envvar=None,
    help="With --repair: also delete objects of files that the database does not know. They are files of the archive"
    " if this is another database, or an earlier one that was restored.",
)
@option("--json", "as_lines", is_flag=True, envvar="CONNECTOR_JSON", help="One JSON object for each line.")
def check(invocation: Invocation, /, repair: bool, delete_unknown: bool, as_lines: bool, **_: object) -> None:
    """Compare the archive's records with its objects, uploads, staged copies, secrets, counters and jobs.

    May run beside the archive. Ends with 0 if nothing is wrong, or all of it was repaired, and with 6 otherwise.
    """
    from connector.archive.faults import UNKNOWN
    from connector.errors import IntegrityError, UsageError

    if delete_unknown and not repair:
        raise UsageError("--delete-unknown is for --repair.", hint="Give both, or leave it out.")
    found = repaired = unknown = 0

    def report(fault: Fault, is_repaired: bool) -> None:
        nonlocal found, repaired, unknown
        is_unknown = not is_repaired and fault.kind in UNKNOWN
        found, repaired, unknown = found + 1, repaired + is_repaired, unknown + is_unknown
        row = {"fault": fault.kind, "subject": fault.subject, "message": fault.message}
        state = "repairable" if fault.repair is not None else "lost"
        state = "repaired" if is_repaired else "unknown" if is_unknown else state
        if as_lines:
            invocation.console.result(json.dumps({**row, "state": state}))
        else:
            invocation.console.result(f"{state}: {fault.kind} {fault.subject}: {fault.message}")

    if with_archive(lambda archive: archive.check.run(report, repair=repair, delete_unknown=delete_unknown)):
        hints = [] if repair else ["Run it with --repair to mend what is safe."]
        if unknown:
            hints.append(
                f"{unknown} of them are objects that the database does not know: see whether it is the right one, and"
                " complete. If so, --repair --delete-unknown deletes them."
            )
        raise IntegrityError(f"{found} fault(s) found, {repaired} repaired.", hint=" ".join(hints))
    invocation.console.info(f"{found} fault(s) found, all repaired." if found else "Nothing is wrong.")


@archive_command()
def upgrade(invocation: Invocation, /, **_: object) -> None:
    """Bring the database of an earlier version up to date. Stop all processes of the archive first.

    May be interrupted and run again.
    """
    from connector.archive.upgrade import upgrade_archive
    from connector.cli.interruption import handle_signals

    config = find_archive()
    with handle_signals() as handler:
        changed = handler.run(lambda: upgrade_archive(config))
    invocation.console.info(f"{changed} document(s) changed." if changed else "The database is up to date.")
