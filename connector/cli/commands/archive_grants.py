"""`connector archive grant`: access tokens for uploads and downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector.cli.commands.archive_options import Size, archive_output_options, location_options, with_archive
from connector.cli.options import option

if TYPE_CHECKING:
    from connector.archive.assembly import Archive
    from connector.cli.run import Invocation


@click.group()
def grant() -> None:
    """Grant access; the access token is the last line of standard output."""


def _key_option(function: Callable[..., Any]) -> Callable[..., Any]:
    decorate = option(
        "--public-key",
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The user's Crypt4GH public key.",
    )
    return decorate(function)  # type: ignore[no-any-return]


@grant.command("upload")
@location_options
@_key_option
@option("--title", default="", help="What the box is for.")
@option("--max-size", type=Size(), metavar="SIZE", help="Bytes of plaintext that the box may hold.")
@option("--storage-alias", metavar="ALIAS", help="The data hub of a new box. Default: the archive's first one.")
@option("--box", metavar="ID", help="Give access to this box instead of a new one.")
@archive_output_options
@click.pass_context
def grant_upload(
    ctx: click.Context,
    /,
    public_key: Path,
    title: str,
    max_size: int | None,
    storage_alias: str | None,
    box: str | None,
    **_: object,
) -> None:
    """Let the owner of a key upload into a box."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin
        from connector.local.key_files import read_public_key

        key = read_public_key(public_key)

        async def job(archive: Archive) -> str:
            granted = await admin.grant_upload(
                archive, key, title=title, max_size=max_size, storage_alias=storage_alias, box_id=box
            )
            invocation.console.info(f"Upload into box {granted.package.box_id}, until {granted.package.expires:%F}.")
            return granted.access_token

        invocation.console.result(with_archive(ctx, job, create=True))
        return 0

    run(ctx, work, resume_hint="")


@grant.command("download")
@location_options
@_key_option
@option("--all", "everything", is_flag=True, envvar=None, show_envvar=False, help="All registered files.")
@archive_output_options
@click.argument("accessions", nargs=-1, metavar="[ACCESSION]...")
@click.pass_context
def grant_download(
    ctx: click.Context, /, public_key: Path, everything: bool, accessions: tuple[str, ...], **_: object
) -> None:
    """Let the owner of a key download files."""
    from connector.cli.run import run

    def work(invocation: Invocation) -> int:
        from connector.archive import admin
        from connector.errors import UsageError
        from connector.local.key_files import read_public_key

        if everything == bool(accessions):
            raise UsageError("Which files?", hint="Name their accessions, or give --all.")
        key = read_public_key(public_key)

        async def job(archive: Archive) -> str:
            granted = await admin.grant_download(archive, key, None if everything else accessions)
            count = len(granted.package.files or {})
            invocation.console.info(f"Download of {count} file(s), until {granted.package.expires:%F}.")
            return granted.access_token

        invocation.console.result(with_archive(ctx, job))
        return 0

    run(ctx, work, resume_hint="")
