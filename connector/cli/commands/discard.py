"""`connector discard`: removes unfinished transfers, here and in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import click

from connector.cli.options import archive_options, command, option, search_option

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.download.unfinished import UnfinishedDownload
    from connector.session import Session
    from connector.transfer.reporting import Outcome
    from connector.upload.listing import ListedFile, UnfinishedUpload

_OPEN = frozenset({"init", "cancelled"})
"""States of what may be discarded as open; one that is cancelled was discarded before."""


@command(resume_hint="Run the same command again to discard the rest.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@option("--all", "everything", is_flag=True, envvar=None, help="All that connector status lists.")
@search_option
@option(
    "--in-box",
    is_flag=True,
    envvar=None,
    help="NAMEs may also be uploads in your upload box that were started elsewhere. Clients that still send them fail.",
)
@archive_options
def discard(
    invocation: Invocation,
    /,
    names: tuple[str, ...],
    everything: bool,
    output_dir: Path | None,
    in_box: bool,
    **_: object,
) -> int:
    """Discard unfinished transfers: uploads by alias, downloads by accession.

    An upload is deleted in the archive too, with the access token that it was started with.
    """
    from connector.cli.leftovers import find_downloads, find_uploads, forget_folders
    from connector.errors import LocalError, UsageError

    if everything and names:
        raise UsageError("--all and names contradict each other.", hint="Leave one out.")
    if not everything and not names:
        raise UsageError("Nothing to discard was named.", hint="Name aliases or accessions, or give --all.")
    if in_box and everything:
        raise UsageError(
            "--in-box goes with names, since others may be sending what is open there.",
            hint="See: connector status --in-box",
        )
    wanted = {normalize("NFC", name) for name in names}
    begun, unreadable = find_uploads(invocation)
    uploads = [one for one in begun if everything or normalize("NFC", one.alias) in wanted]
    found, looked, unreadable_downloads = find_downloads(invocation, output_dir)
    unreadable += unreadable_downloads
    downloads = [one for one in found if everything or normalize("NFC", one.accession) in wanted]
    known = {normalize("NFC", one.alias) for one in uploads}
    known |= {normalize("NFC", one.accession) for one in downloads}
    unknown = [name for name in dict.fromkeys(names) if normalize("NFC", name) not in known]
    if unknown and not in_box:
        if unreadable:
            raise LocalError(
                f"Nothing unfinished is called {', '.join(unknown)}, as far as it can be read.",
                hint="Make what is named above readable, or remove it.",
            )
        raise UsageError(
            f"Nothing unfinished is called {', '.join(unknown)}.",
            hint=f"{looked} See: connector status. For uploads that were started elsewhere, give --in-box.",
        )
    if not uploads and not downloads and not unknown and not unreadable:
        invocation.console.info(f"Nothing is unfinished. {looked}")
    code = _discard_downloads(invocation, downloads)
    forget_folders(invocation, downloads)
    if uploads or unknown:
        code = max(code, _discard_uploads(invocation, uploads, unknown))
    # There may be more: it is not all that was discarded.
    return max(code, LocalError.exit_code) if everything and unreadable else code


def _discard_downloads(invocation: Invocation, downloads: Sequence[UnfinishedDownload]) -> int:
    from connector.cli.progress import Report
    from connector.errors import ConnectorError
    from connector.transfer.reporting import Outcome

    report = Report(invocation.console, verb="discarded")
    outcomes: list[Outcome[None]] = []
    for download in downloads:
        try:
            download.discard()
            outcomes.append(Outcome(download.accession))
        except ConnectorError as error:
            outcomes.append(Outcome(download.accession, error=error))
    return report.conclude(outcomes)


def _discard_uploads(invocation: Invocation, uploads: Sequence[UnfinishedUpload], elsewhere: Sequence[str]) -> int:

    async def job(session: Session) -> Sequence[Outcome[ListedFile]]:
        others = _open(await session.find_uploads(elsewhere)) if elsewhere else []
        discarded = await session.discard_uploads(uploads)
        return [*discarded, *await session.remove(others)] if others else discarded

    return invocation.transfer(invocation.access().in_session(job), verb="discarded")


def _open(found: Sequence[Outcome[ListedFile]]) -> list[ListedFile]:
    """The uploads that were found, which must all be open: complete ones are not discarded by mistake."""
    from connector.clients.api_transport import TokenRefusedError
    from connector.errors import RefusedError, UsageError
    from connector.upload.listing import UNKNOWN

    for outcome in found:
        if isinstance(outcome.error, TokenRefusedError):
            raise outcome.error
    others = [outcome.value for outcome in found if outcome.value is not None]
    unknown = [outcome.label for outcome in found if not outcome.ok]
    if unknown:
        raise UsageError(
            f"Nothing open in the box is called {', '.join(unknown)}.", hint="See: connector status --in-box"
        )
    finished = dict.fromkeys(other.name for other in others if other.state == UNKNOWN)
    if finished:
        raise RefusedError(
            f"The archive refuses to list the box, and this machine has finished uploading {', '.join(finished)}.",
            hint=f"To remove complete uploads: connector rm {' '.join(finished)}",
        )
    complete = [f"{other.name} ({other.state})" for other in others if other.state not in _OPEN]
    if complete:
        raise UsageError(f"Not open in the box: {', '.join(complete)}.", hint="Remove them with: connector rm")
    return others
