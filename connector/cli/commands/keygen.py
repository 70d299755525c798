"""`connector keygen`: a new Crypt4GH key pair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from connector.cli.options import WHERE, LocalPath, command, option, setting_options

if TYPE_CHECKING:
    from connector.cli.run import Invocation


@command(resume_hint="")
@option(
    "--sk",
    required=True,
    type=LocalPath(),
    metavar="FILE",
    help="Where the private key goes.",
)
@option(
    "--pk",
    required=True,
    type=LocalPath(),
    metavar="FILE",
    help="Where the public key goes.",
)
@option("--nocrypt", is_flag=True, help="Do not protect the private key with a passphrase.")
@setting_options("passphrase_file", group=WHERE)
def keygen(invocation: Invocation, /, sk: Path, pk: Path, nocrypt: bool, **_: object) -> None:
    """Make a Crypt4GH key pair.

    The private key is protected with a passphrase from --passphrase-file, CONNECTOR_PASSPHRASE or a prompt. Existing
    files are never overwritten.
    """
    from connector.local.key_files import write_key_pair

    pair = write_key_pair(sk, pk, passphrase=None if nocrypt else invocation.secrets.passphrase(new=True))
    invocation.console.info(f"Private key: {sk} (keep it secret, and keep it)")
    invocation.console.info(f"Public key:  {pk}")
    invocation.console.record({"sk": str(sk), "pk": str(pk), "public_key": pair.public_base64})
