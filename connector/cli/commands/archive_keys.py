"""`connector archive keys`, `rotate-key`, `remove-key`: an archive's keys, also while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from connector.cli.commands.archive_options import archive_command, json_option, print_rows, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.assembly import Archive
    from connector.archive.models import KeyKind
    from connector.cli.run import Invocation


@archive_command()
@json_option
def keys(invocation: Invocation, /, as_array: bool, **_: object) -> None:
    """List the keys, current and old ones, and what still needs an old one. Nothing secret is shown."""
    from connector.archive.key_rotation import describe

    rows = describe(with_archive(lambda archive: archive.key_rotation.list()))
    columns = ("kind", "storage_alias", "key", "state", "created", "needed_by")
    print_rows(invocation, rows, columns, as_array=as_array)


@archive_command("rotate-key")
@click.argument("kind", type=click.Choice(["master", "signing", "hub", "url"]))
@click.argument("storage_alias", required=False, metavar="[STORAGE_ALIAS]")
def rotate_key(invocation: Invocation, /, kind: KeyKind, storage_alias: str | None, **_: object) -> None:
    """Replace a key by a new one; what the old one has signed or sealed stays valid.

    master: the key under which all secrets are sealed; they are sealed again. signing: of work order tokens. hub: the
    Crypt4GH key of a data hub, for which clients encrypt. url: of presigned URLs of directories.

    Running processes follow by themselves. If they have master keys of their own (other hosts, the environment), add
    the new one to all of them first.
    """
    from connector.archive.admin import find_hub
    from connector.errors import UsageError

    if storage_alias is not None and kind != "hub":
        raise UsageError("Only the key of a hub belongs to a storage alias.", hint="Leave it out.")

    async def job(archive: Archive) -> str:
        hub = find_hub(archive, storage_alias).alias if kind == "hub" else ""
        return await archive.key_rotation.rotate(kind, hub)

    key_id = with_archive(job)
    invocation.console.info(f"The current {kind} key is {key_id}.")


@archive_command("remove-key")
@option("--force", is_flag=True, envvar=None, help="Also if it is needed, because it has leaked.")
@click.argument("key")
def remove_key(invocation: Invocation, /, key: str, force: bool, **_: object) -> None:
    """Remove an old key that nothing needs any more."""
    with_archive(lambda archive: archive.key_rotation.remove(key, force=force))
    invocation.console.info(f"The key {key} is removed.")
