"""`connector upload`: encrypts and uploads local files into an upload box."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

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
    from collections.abc import Sequence

    from connector.cli.run import Invocation
    from connector.session import Session
    from connector.transfer.reporting import Outcome
    from connector.upload import UploadSource


@command()
@click.argument("paths", nargs=-1, type=click.Path(readable=False, path_type=Path), metavar="[PATH]...")
@option("--alias", metavar="NAME", help="What the file is called in the box, if only one is given. Default: its name.")
@option(
    "--tsv",
    type=LocalPath(),
    metavar="FILE",
    help="List of files: path, tab, alias. Blank lines and # comments may stand between. - is standard input.",
)
@option(
    "--wait",
    is_flag=True,
    help="Wait until the archive has checked each file, existing ones too. Rejected files: exit code 6.",
)
@option(
    "--wait-timeout",
    metavar="DURATION",
    help="Longest wait, such as 90s, 30m or 2h; then exit code 5. The same command waits again. Default: none.",
)
@option("--dry-run", is_flag=True, help="Check files, keys, token and box, and send nothing.")
@existing_options
@archive_options
@transfer_options
@time_limit_options
def upload(
    invocation: Invocation,
    /,
    paths: tuple[Path, ...],
    alias: str | None,
    tsv: Path | None,
    wait: bool,
    wait_timeout: str | None,
    dry_run: bool,
    overwrite: bool,
    skip_existing: bool,
    verify_existing: bool,
    **_: object,
) -> int:
    """Encrypt files and send them to your upload box.

    They are encrypted on this machine, for the data hub's key, while they are sent. After an interruption the same
    command resumes in the middle of a file; a file that is in the box already, with the same size, is not sent again.

    The access token comes from --token-file, CONNECTOR_ACCESS_TOKEN, standard input or a prompt.
    """
    from connector.cli.progress import already_there
    from connector.errors import UsageError

    check_existing_options(overwrite=overwrite, skip_existing=skip_existing, verify_existing=verify_existing)
    if dry_run and verify_existing:
        raise UsageError("A dry run reads no files.", hint="Leave out --dry-run or --verify-existing.")
    timeout = _wait_seconds(wait, wait_timeout)
    sources = _sources(invocation, paths, alias, tsv)
    access = invocation.access()
    sent: list[Outcome[Any]] = []

    async def job(session: Session) -> Sequence[Outcome[Any]]:
        if dry_run:
            return await session.plan_upload(sources, overwrite=overwrite)
        sent.extend(await session.upload(sources, overwrite=overwrite, verify_existing=verify_existing))
        return sent

    if dry_run:
        return invocation.transfer(access.in_session(job), verb="could be uploaded")
    code = invocation.transfer(access.in_session(job), verb="uploaded")
    unknown = sum(already_there(outcome) == "size" for outcome in sent) if verify_existing else 0
    if unknown:
        invocation.console.info(
            f"The content of {unknown} could not be verified: not sent from here, and the archive states no sha256."
        )
    there = {outcome.label: outcome.unwrap().file_id for outcome in sent if outcome.ok} if wait else {}
    if there:
        waiting = access.in_session(lambda session: session.wait_for(there, timeout=timeout))
        code = max(code, invocation.transfer(waiting, verb="checked by the archive"))
    return code


def _sources(invocation: Invocation, paths: Sequence[Path], alias: str | None, tsv: Path | None) -> list[UploadSource]:
    """The named files, and those of the list, whose paths are relative to the working folder like the others."""
    from connector.errors import UsageError
    from connector.upload import UploadSource

    if alias is not None and (len(paths) != 1 or tsv is not None):
        raise UsageError("--alias goes with exactly one PATH.", hint="For several files write a list and give --tsv.")
    sources = [UploadSource(path, path.name if alias is None else alias) for path in paths]
    if tsv is not None:
        from connector.cli.tsv import listed
        from connector.local.disk import path_of

        sources += [UploadSource(path_of(path), name) for path, name in listed(invocation, tsv)]
    if not sources:
        raise UsageError("There is nothing to upload.", hint="Name files, or a list of files with --tsv.")
    return sources


def _wait_seconds(wait: bool, text: str | None) -> float:
    from connector.config import parse_duration
    from connector.errors import UsageError

    if text is None:
        return math.inf
    source = click.get_current_context().get_parameter_source("wait_timeout")
    if not wait and source is ParameterSource.COMMANDLINE:
        raise UsageError("--wait-timeout goes with --wait.", hint="Give both, or none.")
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--wait-timeout: {error}.") from None
