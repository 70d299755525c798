"""`connector decrypt`: decrypts local Crypt4GH files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.options import (
    WHERE,
    LocalPath,
    SettingOption,
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
@click.argument("files", nargs=-1, type=click.Path(readable=False, path_type=Path), metavar="[FILE]...")
@option(
    "--input-dir",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Decrypt all *.c4gh files of this folder.",
)
@result_options
@option(
    "--my-private-key-path",
    "private_key_names",
    cls=SettingOption,
    group=WHERE,
    multiple=True,
    metavar="FILE",
    help="Your Crypt4GH or OpenSSH (ed25519) private key; given several times, each is tried.",
)
@setting_options("my_public_key_path", "passphrase_file", group=WHERE)
@transfer_options
@time_limit_options
def decrypt(
    invocation: Invocation,
    /,
    files: tuple[Path, ...],
    input_dir: Path | None,
    private_key_names: tuple[str, ...],
    output_dir: Path | None,
    overwrite: bool,
    **_: object,
) -> int:
    """Decrypt Crypt4GH files on this machine.

    NAME.c4gh becomes NAME; - is standard input, which is decrypted to standard output. The encrypted file stays. A
    result that exists already, with the right size, is not written again.
    """
    from connector.cli.pipes import standard_pipes, without_pipe
    from connector.local.disk import ready_folder
    from connector.recrypt import decrypt_files, decrypt_pipe, move_all
    from connector.recrypt.request import decrypt_targets

    named = without_pipe(files)
    pipes = standard_pipes(invocation, files, output_dir)
    requests = decrypt_targets(named, input_dir, output_dir) if named or pipes is None else []
    keys = invocation.secrets.own_private_keys(private_key_names)
    if requests and output_dir is not None:
        ready_folder(output_dir)

    async def job(observer: Observer) -> Sequence[Outcome[RecryptedFile]]:
        outcomes: list[Outcome[RecryptedFile]] = []
        if pipes is not None:
            pieces = decrypt_pipe(pipes.source, pipes.target, keys)
            outcomes.append(await move_all(pieces, pipes.target, size=pipes.size, observer=observer))
        if requests:
            outcomes += await decrypt_files(
                invocation.settings,
                keys[0],
                requests,
                more_private_keys=keys[1:],
                overwrite=overwrite,
                observer=observer,
            )
        return outcomes

    return invocation.transfer(job, verb="decrypted")
