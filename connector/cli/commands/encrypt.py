"""`connector encrypt`: encrypts local files for recipients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    WHERE,
    LocalPath,
    command,
    option,
    result_options,
    setting_options,
    time_limit_options,
    transfer_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.cli.run import Invocation
    from connector.recrypt import RecryptedFile
    from connector.transfer.reporting import Observer, Outcome


@command()
@click.argument("files", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path), metavar="FILE...")
@option(
    "--recipient-public-key-path",
    required=True,
    multiple=True,
    type=LocalPath(),
    metavar="FILE",
    help="Crypt4GH or OpenSSH (ed25519) public key of a recipient; may be given several times.",
)
@result_options
@setting_options("my_private_key_path", "passphrase_file", group=WHERE)
@transfer_options
@time_limit_options
def encrypt(
    invocation: Invocation,
    /,
    files: tuple[Path, ...],
    recipient_public_key_path: tuple[Path, ...],
    output_dir: Path | None,
    overwrite: bool,
    **_: object,
) -> int:
    """Encrypt files on this machine for a public key.

    NAME becomes NAME.c4gh; - is standard input, which is encrypted to standard output. Without a private key of your
    own, a temporary one is used. A result that exists already, with the right size, is not written again.
    """
    import os

    from connector.cli.pipes import standard_pipes, without_pipe
    from connector.crypt4gh.keys import KEY_SIZE
    from connector.local.disk import ready_folder
    from connector.local.key_files import read_public_key
    from connector.recrypt import encrypt_files, encrypt_pipe, move_all
    from connector.recrypt.request import encrypt_targets

    requests = encrypt_targets(without_pipe(files), output_dir)
    pipes = standard_pipes(invocation, files, output_dir)
    recipients = [read_public_key(path) for path in recipient_public_key_path]
    named = invocation.settings.my_private_key_path is not None
    private_key = invocation.secrets.own_keys().private if named else os.urandom(KEY_SIZE)
    if requests and output_dir is not None:
        ready_folder(output_dir)

    async def job(observer: Observer) -> Sequence[Outcome[RecryptedFile]]:
        outcomes: list[Outcome[RecryptedFile]] = []
        if pipes is not None:
            pieces = encrypt_pipe(pipes.source, pipes.target, private_key, recipients)
            outcomes.append(await move_all(pieces, pipes.target, size=pipes.size, observer=observer))
        if requests:
            outcomes += await encrypt_files(
                invocation.settings, private_key, recipients, requests, overwrite=overwrite, observer=observer
            )
        return outcomes

    return invocation.transfer(job, verb="encrypted")
