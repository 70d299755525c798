"""`connector encrypt`: encrypts local files for recipients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    WHERE,
    command,
    option,
    output_options,
    result_options,
    setting_options,
    time_limit_options,
    transfer_options,
)

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@option(
    "--recipient-public-key-path",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Crypt4GH public key of a recipient; may be given several times.",
)
@result_options
@setting_options("my_private_key_path", "passphrase_file", group=WHERE)
@transfer_options
@time_limit_options
@output_options
@click.pass_context
def encrypt(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    recipient_public_key_path: tuple[Path, ...],
    output_dir: Path | None,
    overwrite: bool,
    **_: object,
) -> None:
    """Encrypt files on this machine for a public key.

    NAME becomes NAME.c4gh. Without a private key of your own, a temporary one is used. A result that exists already,
    with the right size, is not written again.
    """
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        import os

        from connector.cli.access import own_keys
        from connector.crypt4gh.keys import KEY_SIZE
        from connector.local.key_files import read_public_key
        from connector.local.output_folder import ready_folder
        from connector.recrypt.targets import encrypt_targets

        requests = encrypt_targets(files, output_dir)
        recipients = [read_public_key(path) for path in recipient_public_key_path]
        named = invocation.settings.my_private_key_path is not None
        private_key = own_keys(invocation).private if named else os.urandom(KEY_SIZE)
        if output_dir is not None:
            ready_folder(output_dir)
        engine = invocation.context.engine()
        return invocation.transfer(
            lambda observer: engine.encrypt_files(
                invocation.settings, private_key, recipients, requests, overwrite=overwrite, observer=observer
            ),
            verb="encrypted",
        )

    run(ctx, work)
