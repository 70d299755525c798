"""``connector discard``: gives up what was interrupted, here and in the archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import archive_options, key_options, option, talk_options

if TYPE_CHECKING:
    from connector.cli.run import Invocation
    from connector.transfer.observer import Observer
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
@archive_options
@key_options
@talk_options
@click.pass_context
def discard(ctx: click.Context, /, names: tuple[str, ...], everything: bool, output_dir: Path, **_: object) -> None:
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
        folder = invocation.surroundings.engine().journal_folder()
        uploads = [one for one in unfinished_uploads(folder) if everything or one.alias in names]
        downloads = [one for one in unfinished_downloads(output_dir) if everything or one.accession in names]
        unknown = set(names) - {one.alias for one in uploads} - {one.accession for one in downloads}
        if unknown:
            raise UsageError(
                f"Nothing unfinished is called {', '.join(sorted(unknown))}.", hint="See: connector status"
            )
        for download in downloads:
            download.discard()
            invocation.console.tell(f"{download.accession}: discarded")
        if uploads:
            _discard_uploads(invocation, uploads)
        return 0

    run(ctx, work, go_on="")


def _discard_uploads(invocation: Invocation, uploads: Sequence[UnfinishedUpload]) -> None:
    from connector.cli.keys import own_keys
    from connector.clients.access_token import AccessToken

    keys = own_keys(invocation)
    token = AccessToken.parse(invocation.secrets.access_token())
    engine = invocation.surroundings.engine()

    async def job(observer: Observer) -> None:
        async with engine.open_session(invocation.settings, keys, token, observer=observer) as session:
            for upload in uploads:
                await session.discard_upload(upload)
                invocation.console.tell(f"{upload.alias}: discarded")

    invocation.wait_for(job)
