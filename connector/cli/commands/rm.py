"""`connector rm`: removes uploads from the box, complete ones too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import LocalPath, archive_options, command, option

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.session import Session
    from connector.transfer.reporting import Outcome
    from connector.upload.listing import ListedFile

_ANSWER_SECONDS = 600.0


@command(resume_hint="Run the same command again to remove the rest.")
@click.argument("aliases", nargs=-1, metavar="[ALIAS]...")
@option(
    "--tsv",
    type=LocalPath(),
    metavar="FILE",
    envvar=None,  # a variable that was set for uploads must not remove them
    help="List of files as for connector upload: path, tab, alias; - is standard input.",
)
@option("--yes", "-y", is_flag=True, envvar=None, help="Do not ask.")
@archive_options
def rm(invocation: Invocation, /, aliases: tuple[str, ...], tsv: Path | None, yes: bool, **_: object) -> int:
    """Remove uploads from your upload box, complete ones too.

    The archive deletes them, and this machine's records of them are removed. Uploads that are archived, or in a locked
    box, cannot be removed.
    """
    from connector.cli.tsv import listed
    from connector.errors import UsageError

    names = [*dict.fromkeys([*aliases, *(alias for _, alias in (listed(invocation, tsv) if tsv is not None else []))])]
    if not names:
        raise UsageError("Nothing to remove was named.", hint="Name aliases, or a list of files with --tsv.")
    if not yes and invocation.context.stdin.kind() != "terminal":
        raise UsageError("Without a terminal there is no prompt.", hint="Give --yes to remove uploads without it.")

    async def find(session: Session) -> Sequence[Outcome[ListedFile]]:
        return await session.find_uploads(names)

    async def remove(session: Session) -> Sequence[Outcome[ListedFile]]:
        found = known or await find(session)
        removed = iter(await session.remove([one.unwrap() for one in found if one.ok]))
        return [next(removed) if one.ok else one for one in found]

    access = invocation.access()
    known: Sequence[Outcome[ListedFile]] = ()
    if not yes:
        known = invocation.wait_for(access.in_session(find))
        _confirm(invocation, [one.unwrap() for one in known if one.ok])
    return invocation.transfer(access.in_session(remove), verb="removed")


def _confirm(invocation: Invocation, uploads: Sequence[ListedFile]) -> None:
    """Ask whether to remove these; `UsageError` for any answer but yes."""
    from connector.cli.console import amount
    from connector.errors import UsageError

    if not uploads:
        return
    console = invocation.console
    for upload in uploads:
        size = "size unknown" if upload.size is None else amount(upload.size)
        console.error(f"{upload.state}, {size}", label=upload.name)
    console.error(f"Remove {'it' if len(uploads) == 1 else f'these {len(uploads)}'} from the box? [y/N]")
    answer = invocation.context.stdin.line(_ANSWER_SECONDS)
    if (answer or "").strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was removed.", hint="Answer y, or give --yes.")
