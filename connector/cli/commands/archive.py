"""`connector archive`: run an archive of your own, and administer it, also while it runs."""

from __future__ import annotations

import click

from connector.cli.commands.archive_check import check, upgrade
from connector.cli.commands.archive_grants import grant, grants, revoke
from connector.cli.commands.archive_jobs import jobs
from connector.cli.commands.archive_keys import keys, remove_key, rotate_key
from connector.cli.commands.archive_listings import archive_box, boxes, files, lock, unlock
from connector.cli.commands.archive_processes import serve, work


@click.group()
def archive() -> None:
    """Run an archive of your own, and administer it, also while it runs."""


_PROCESSES = (serve, work)
_GRANTS = (grant, grants, revoke)
_FILES = (files, boxes, lock, unlock, archive_box, jobs)
_UPKEEP = (keys, rotate_key, remove_key, check, upgrade)
for _command in (*_PROCESSES, *_GRANTS, *_FILES, *_UPKEEP):
    archive.add_command(_command)
