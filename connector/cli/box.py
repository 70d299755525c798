"""The upload box as commands see it that move no files: what is in it, also what was begun elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs

from connector.cli.keys import own_keys
from connector.cli.run import Invocation
from connector.config import Settings
from connector.crypt4gh.keys import KeyPair
from connector.transfer.observer import Observer
from connector.upload.unfinished import AnnouncedUpload, UnfinishedUpload
from connector.wire.payloads import FileUpload
from connector.wire.tokens import AccessToken

if TYPE_CHECKING:
    from connector.cli.surroundings import Engine, Session

T = TypeVar("T")


@attrs.frozen
class Access:
    """What opens sessions with the archive: settings, the user's keys and the access token of a work package."""

    engine: Engine
    settings: Settings
    keys: KeyPair
    token: AccessToken

    @classmethod
    def of(cls, invocation: Invocation) -> Access:
        """What the command was given; key and token are asked for if need be."""
        keys = own_keys(invocation)
        token = AccessToken.parse(invocation.secrets.access_token())
        return cls(invocation.surroundings.engine(), invocation.settings, keys, token)

    def in_session(self, job: Callable[[Session], Awaitable[T]]) -> Callable[[Observer], Awaitable[T]]:
        """Return what opens a session and does ``job`` in it."""

        async def work(observer: Observer) -> T:
            async with self.engine.open_session(self.settings, self.keys, self.token, observer=observer) as session:
                return await job(session)

        return work


def announced_here(upload: FileUpload, announced: Sequence[AnnouncedUpload]) -> bool:
    """Whether an open upload is, by name and size, one that a run on this machine asked for and never heard of."""
    return any(upload.alias == each.alias and upload.decrypted_size in (None, each.size) for each in announced)


def not_unfinished_here(listed: Sequence[FileUpload], here: Sequence[UnfinishedUpload]) -> list[FileUpload]:
    """Those of the open uploads of a box that no unfinished upload of this machine is, by alias."""
    known = {upload.file_id for upload in here}
    return sorted((upload for upload in listed if upload.id not in known), key=lambda upload: upload.alias)
