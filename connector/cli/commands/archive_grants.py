"""`connector archive grant`, `grants`, `revoke`: access tokens for uploads and downloads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.cli.commands.archive_options import Size, archive_command, json_option, print_rows, with_archive
from connector.cli.options import LocalPath, option

if TYPE_CHECKING:
    from connector.cli.run import Invocation


_DAY = 24 * 3600


def read_lifetime(text: str | None, now: float) -> float | None:
    """Read `--expires`: seconds from `now` (seconds since 1970) to the end of a grant. Pure.

    Raises:
        UsageError: It is neither a time span nor a date, or has passed.
    """
    from connector.archive.settings import LONGEST
    from connector.config import parse_duration
    from connector.errors import UsageError

    if text is None:
        return None
    try:
        lifetime = parse_duration(text)
    except ValueError:
        lifetime = _seconds_until(text, now)
    if lifetime <= 0:
        raise UsageError(f"--expires: {text} has passed already.", hint="Give a time to come.")
    if lifetime > LONGEST:
        raise UsageError(f"--expires: {text} is more than a hundred years away.", hint="Give an earlier time.")
    return lifetime


def _seconds_until(text: str, now: float) -> float:
    from connector.errors import UsageError

    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--expires: {text!r} is neither a time span nor a date.", hint="Write it like 12h, 90d or 2027-06-30."
        ) from None
    seconds = (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp() - now
    return seconds + (_DAY if len(text) == len("2027-06-30") else 0)  # that day is included


_key_option = option(
    "--public-key",
    required=True,
    type=LocalPath(),
    metavar="FILE",
    help="The user's Crypt4GH public key.",
)
_expires_option = option(
    "--expires",
    metavar="WHEN",
    help="When the grant ends: in a time span (12h, 90d), or after a day (2027-06-30, UTC). Default: 30d.",
)


@archive_command("upload")
@_key_option
@option("--title", default="", help="What the box is for.")
@option("--max-size", type=Size(), metavar="SIZE", help="Bytes of plaintext that the box may hold.")
@option("--storage-alias", metavar="ALIAS", help="The data hub of a new box. Default: the archive's first one.")
@option("--box", metavar="ID", help="Give access to this box instead of a new one.")
@_expires_option
def grant_upload(
    invocation: Invocation,
    /,
    public_key: Path,
    title: str,
    max_size: int | None,
    storage_alias: str | None,
    box: str | None,
    expires: str | None,
    **_: object,
) -> None:
    """Let the owner of a key upload into a box."""
    from connector.archive import admin
    from connector.local.key_files import read_public_key

    key = read_public_key(public_key)
    lifetime = read_lifetime(expires, invocation.context.time_of_day())
    granted = with_archive(
        lambda archive: admin.grant_upload(
            archive,
            key,
            title=title,
            max_size=max_size,
            storage_alias=storage_alias,
            box_id=box,
            lifetime=lifetime,
        ),
        create=True,
    )
    invocation.console.info(f"Upload into box {granted.package.box_id}, until {granted.package.expires:%F}.")
    invocation.console.result(granted.access_token)


@archive_command("download")
@_key_option
@option("--all", "everything", is_flag=True, envvar=None, help="All registered files.")
@_expires_option
@click.argument("accessions", nargs=-1, metavar="[ACCESSION]...")
def grant_download(
    invocation: Invocation,
    /,
    public_key: Path,
    everything: bool,
    expires: str | None,
    accessions: tuple[str, ...],
    **_: object,
) -> None:
    """Let the owner of a key download files."""
    from connector.archive import admin
    from connector.errors import UsageError
    from connector.local.key_files import read_public_key

    if everything == bool(accessions):
        raise UsageError("Which files?", hint="Name their accessions, or give --all.")
    key = read_public_key(public_key)
    lifetime = read_lifetime(expires, invocation.context.time_of_day())
    named = None if everything else accessions
    granted = with_archive(lambda archive: admin.grant_download(archive, key, named, lifetime=lifetime))
    count = len(granted.package.files or {})
    invocation.console.info(f"Download of {count} file(s), until {granted.package.expires:%F}.")
    invocation.console.result(granted.access_token)


@click.group()
def grant() -> None:
    """Grant access; the access token is the last line of standard output."""


grant.add_command(grant_upload)
grant.add_command(grant_download)


@archive_command()
@json_option
def grants(invocation: Invocation, /, as_array: bool, **_: object) -> None:
    """List the grants: what they permit, until when, and when they were used last."""
    from connector.archive import admin

    rows = with_archive(admin.list_grants)
    shown = [
        {**row, "permits": row["box"] or f"{len(row['files'])} file(s)"}
        | {name: row[name] and row[name][:19] for name in ("expires", "last_used")}
        for row in rows
    ]
    columns = ("grant", "type", "state", "expires", "last_used", "permits")
    print_rows(invocation, rows if as_array else shown, columns, as_array=as_array)


@archive_command()
@click.argument("named", nargs=-1, required=True, metavar="GRANT...")
def revoke(invocation: Invocation, /, named: tuple[str, ...], **_: object) -> None:
    """End grants at once, named by their ids or access tokens.

    Every process refuses the next request with them. Presigned URLs that were given out before live to their end, a
    minute by default.
    """
    from connector.archive import admin

    with_archive(lambda archive: admin.revoke_grants(archive, named))
    invocation.console.info(f"{len(named)} grant(s) revoked.")
