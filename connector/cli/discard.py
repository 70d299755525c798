"""``connector discard``: gives up what was interrupted, here and in the archive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import archive_options, key_options, option, talk_options

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.cli.surroundings import Session
    from connector.upload.unfinished import UnfinishedUpload


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@option("--all", "everything", is_flag=True, envvar=None, show_envvar=False, help="All that connector status lists.")
@option(
    "--output-dir",
    default=Path(),
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where downloads went to. Default: the current folder.",
)
@option(
    "--in-box",
    is_flag=True,
    envvar=None,
    show_envvar=False,
    help="NAMEs may also be open in the upload box of your access token and begun elsewhere. Whoever still sends one"
    " of them fails.",
)
@archive_options
@key_options
@talk_options
@click.pass_context
def discard(
    ctx: click.Context, /, names: tuple[str, ...], everything: bool, output_dir: Path, in_box: bool, **_: object
) -> None:
    """Give unfinished transfers up: uploads by alias, downloads by accession.

    An upload is deleted in the archive too, which takes the access token that it was begun with.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.download.unfinished import unfinished_downloads
        from connector.errors import UsageError
        from connector.upload.unfinished import unfinished_uploads

        if everything == bool(names):
            raise UsageError("Nothing to discard was named.", hint="Name aliases or accessions, or give --all alone.")
        if in_box and everything:
            raise UsageError(
                "--in-box goes with names, since others may be sending what is open there.",
                hint="See: connector status --in-box",
            )
        folder = invocation.surroundings.engine().journal_folder()
        uploads = [one for one in unfinished_uploads(folder) if everything or one.alias in names]
        downloads = [one for one in unfinished_downloads(output_dir) if everything or one.accession in names]
        unknown = set(names) - {one.alias for one in uploads} - {one.accession for one in downloads}
        if unknown and not in_box:
            raise UsageError(
                f"Nothing unfinished is called {', '.join(sorted(unknown))}.",
                hint="See: connector status. What was begun elsewhere takes --in-box.",
            )
        for download in downloads:
            download.discard()
            invocation.console.tell("discarded", label=download.accession)
        if uploads or unknown:
            _discard_uploads(invocation, uploads, unknown)
        return 0

    run(ctx, work, go_on="")


def _discard_uploads(invocation: Invocation, uploads: Sequence[UnfinishedUpload], elsewhere: Collection[str]) -> None:
    from connector.cli.box import named, with_session

    async def job(session: Session) -> None:
        others = named(await session.open_in_box(), elsewhere) if elsewhere else []
        for upload in uploads:
            await session.discard_upload(upload)
            invocation.console.tell("discarded", label=upload.alias)
        for other in others:
            await session.delete_from_box(other)
            invocation.console.tell("discarded", label=other.alias)

    with_session(invocation, job)
