"""The upload box as ``status`` and ``discard`` see it with ``--in-box``: also what was begun elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

from connector.cli.keys import own_keys
from connector.cli.run import Invocation
from connector.clients.access_token import AccessToken
from connector.core.payloads import FileUpload
from connector.errors import UsageError
from connector.transfer.observer import Observer
from connector.upload.unfinished import AnnouncedUpload, UnfinishedUpload

if TYPE_CHECKING:
    from connector.cli.surroundings import Session

T = TypeVar("T")


def with_session(invocation: Invocation, job: Callable[[Session], Awaitable[T]]) -> T:
    """Do something in a session with the archive, for which key and access token are asked if need be."""
    keys = own_keys(invocation)
    token = AccessToken.parse(invocation.secrets.access_token())
    engine = invocation.surroundings.engine()

    async def work(observer: Observer) -> T:
        async with engine.open_session(invocation.settings, keys, token, observer=observer) as session:
            return await job(session)

    return invocation.wait_for(work)


def announced_here(upload: FileUpload, announced: Sequence[AnnouncedUpload]) -> bool:
    """Whether an open upload is, by name and size, one that a run on this machine asked for and never heard of."""
    return any(upload.alias == each.alias and upload.decrypted_size in (None, each.size) for each in announced)


def not_unfinished_here(listed: Sequence[FileUpload], here: Sequence[UnfinishedUpload]) -> list[FileUpload]:
    """Those of the open uploads of a box that no unfinished upload of this machine is, by alias."""
    known = {upload.file_id for upload in here}
    return sorted((upload for upload in listed if upload.id not in known), key=lambda upload: upload.alias)


def named(listed: Sequence[FileUpload], names: Collection[str]) -> list[FileUpload]:
    """Those with these aliases; :class:`~connector.errors.UsageError` if there is none for one of the names."""
    unknown = sorted(set(names) - {upload.alias for upload in listed})
    if unknown:
        raise UsageError(
            f"Nothing open in the box is called {', '.join(unknown)}.", hint="See: connector status --in-box"
        )
    return [upload for upload in listed if upload.alias in names]
