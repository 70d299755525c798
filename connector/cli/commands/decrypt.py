"""`connector decrypt`: decrypts local Crypt4GH files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    command,
    key_options,
    option,
    output_options,
    result_options,
    time_limit_options,
    transfer_options,
)

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@option(
    "--input-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Decrypt all *.c4gh files of this folder.",
)
@result_options
@key_options
@transfer_options
@time_limit_options
@output_options
@click.pass_context
def decrypt(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    input_dir: Path | None,
    output_dir: Path | None,
    overwrite: bool,
    **_: object,
) -> None:
    """Decrypt Crypt4GH files on this machine.

    NAME.c4gh becomes NAME. The encrypted file stays. A result that exists already, with the right size, is not written
    again.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.cli.access import own_keys
        from connector.local.output_folder import ready_folder
        from connector.recrypt.targets import decrypt_targets

        requests = decrypt_targets(files, input_dir, output_dir)
        keys = own_keys(invocation)
        if output_dir is not None:
            ready_folder(output_dir)
        engine = invocation.context.engine()
        return invocation.transfer(
            lambda observer: engine.decrypt_files(
                invocation.settings, keys.private, requests, overwrite=overwrite, observer=observer
            ),
            verb="decrypted",
        )

    run(ctx, work)
