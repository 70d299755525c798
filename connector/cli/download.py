"""``connector download``: the files of a work package onto this disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    archive_options,
    key_options,
    option,
    overwrite_option,
    talk_options,
    transfer_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.cli.run import Invocation
    from connector.transfer.observer import Observer
    from connector.transfer.outcome import Outcome


@click.command()
@click.argument("accessions", nargs=-1, metavar="[ACCESSION]...")
@option(
    "--output-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the files go; made if it is not there.",
)
@option("--decrypt", is_flag=True, help="Write the plaintext, checked against the archive's sha256.")
@overwrite_option
@archive_options
@key_options
@transfer_options
@talk_options
@click.pass_context
def download(
    ctx: click.Context, /, accessions: tuple[str, ...], output_dir: Path, decrypt: bool, overwrite: bool, **_: object
) -> None:
    """Fetch the files of your work package.

    All of them, or those whose ACCESSION is named. A file is called ACCESSION and its extension, then .c4gh unless it
    is decrypted. What an earlier run has fetched already is not fetched again.

    The access token comes from --token-file, CONNECTOR_ACCESS_TOKEN, standard input or a prompt.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.cli.keys import own_keys
        from connector.cli.outputs import ready_folder
        from connector.clients.access_token import AccessToken

        keys = own_keys(invocation)
        token = AccessToken.parse(invocation.secrets.access_token())
        ready_folder(output_dir)
        engine = invocation.surroundings.engine()

        async def job(observer: Observer) -> Sequence[Outcome[object]]:
            async with engine.open_session(invocation.settings, keys, token, observer=observer) as session:
                return await session.download(accessions, output_dir=output_dir, decrypt=decrypt, overwrite=overwrite)

        return invocation.transfer(job, verb="downloaded")

    run(ctx, work)
