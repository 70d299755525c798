"""`connector download`: downloads the files of a work package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    LocalPath,
    archive_options,
    check_existing_options,
    command,
    existing_options,
    option,
    time_limit_options,
    transfer_options,
)

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@command()
@click.argument("accessions", nargs=-1, metavar="[ACCESSION]...")
@option(
    "--output-dir",
    required=True,
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Where the files go; created if necessary.",
)
@option("--decrypt", is_flag=True, help="Write the plaintext, checked against the archive's sha256.")
@option(
    "--no-verify",
    is_flag=True,
    help="Check only the size of files that stay encrypted. Faster where the processor is the limit.",
)
@existing_options
@archive_options
@transfer_options
@time_limit_options
def download(
    invocation: Invocation,
    /,
    accessions: tuple[str, ...],
    output_dir: Path,
    decrypt: bool,
    no_verify: bool,
    overwrite: bool,
    skip_existing: bool,
    verify_existing: bool,
    **_: object,
) -> int:
    """Fetch the files of your work package.

    All of them, or those whose ACCESSION is named. A file is called ACCESSION and its extension, then .c4gh unless it
    is decrypted; what file names must not have becomes an underscore. A file that exists already, with the right size,
    is not fetched again.

    The access token comes from --token-file, CONNECTOR_ACCESS_TOKEN, standard input or a prompt.
    """
    from connector.errors import UsageError
    from connector.local.disk import missing_in, ready_folder

    if decrypt and no_verify:
        raise UsageError("What is decrypted is verified on the way.", hint="Leave out --no-verify.")
    check_existing_options(overwrite=overwrite, skip_existing=skip_existing, verify_existing=verify_existing)
    access = invocation.access()
    ready_folder(output_dir)
    job = access.in_session(
        lambda session: session.download(
            accessions or None,
            output_dir=output_dir,
            decrypt=decrypt,
            overwrite=overwrite,
            verify=not no_verify,
            verify_existing=verify_existing,
        ),
        accessions=missing_in(output_dir, accessions),
    )
    return invocation.transfer(job, verb="downloaded")
