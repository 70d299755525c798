"""``connector upload``: files from this disk into an upload box."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    archive_options,
    key_options,
    option,
    overwrite_option,
    skip_existing_option,
    talk_options,
    transfer_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.cli.run import Invocation
    from connector.transfer.observer import Observer
    from connector.transfer.outcome import Outcome


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@option("--alias", metavar="NAME", help="What the file is called in the box, if only one is given. Default: its name.")
@option(
    "--tsv",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="List of files: path, tab, alias. Blank lines and # comments may stand between.",
)
@option("--dry-run", is_flag=True, help="Check files, keys, token and box, and send nothing.")
@overwrite_option
@skip_existing_option
@archive_options
@key_options
@transfer_options
@talk_options
@click.pass_context
def upload(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    alias: str | None,
    tsv: Path | None,
    dry_run: bool,
    overwrite: bool,
    skip_existing: bool,
    **_: object,
) -> None:
    """Encrypt files and send them to your upload box.

    They are encrypted on this machine, for the data hub's key, while they are sent. After an interruption the same
    command goes on in the middle of a file.

    The access token comes from --token-file, CONNECTOR_ACCESS_TOKEN, standard input or a prompt.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.cli.keys import own_keys
        from connector.cli.sources import upload_sources
        from connector.clients.access_token import AccessToken
        from connector.errors import UsageError

        if overwrite and skip_existing:
            raise UsageError("--overwrite and --skip-existing contradict each other.", hint="Leave one out.")
        sources = upload_sources(paths, alias, tsv)
        keys = own_keys(invocation)
        token = AccessToken.parse(invocation.secrets.access_token())
        engine = invocation.surroundings.engine()

        async def job(observer: Observer) -> Sequence[Outcome[object]]:
            async with engine.open_session(invocation.settings, keys, token, observer=observer) as session:
                wanted = await session.not_uploaded(sources) if skip_existing else sources
                if not wanted:
                    invocation.console.tell("All files are in the box already.")
                    return []
                if dry_run:
                    return await session.plan_upload(wanted, overwrite=overwrite)
                return await session.upload(wanted, overwrite=overwrite)

        return invocation.transfer(job, verb="could be uploaded" if dry_run else "uploaded")

    run(ctx, work)
